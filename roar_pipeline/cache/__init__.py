"""The cache: whole files, locks, identities, manifests, attempts, states; it knows nothing of what is cached."""
