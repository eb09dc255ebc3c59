"""Data sets: reading, checking and generating them, and ``images.h5``."""
