"""Figures: one module per kind, and the style that they share."""
