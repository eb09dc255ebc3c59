"""Preparations before Luigi is imported: output streams and configuration files."""
