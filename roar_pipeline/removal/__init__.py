"""Which pixels are removed, and what takes their place."""
