"""The cache: whole files, locks, identities, manifests, attempts, states; it does not know the stages."""
