"""The Luigi tasks of the chain."""
