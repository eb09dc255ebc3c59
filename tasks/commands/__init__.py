"""The commands beside Luigi's own: a module for each, by its name."""
