"""Settings and parameters: what users give, checked."""
