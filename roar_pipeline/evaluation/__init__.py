"""Metrics of predictions and of maps, and the retrained networks."""
