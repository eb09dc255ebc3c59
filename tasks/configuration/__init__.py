"""Settings and task parameters, read and checked."""
