"""Benchmarks: scripts to run by hand, and a record of what they measured."""
