"""The result server: a read-only web page of a grid, its results and its report, for browsers on this machine."""
