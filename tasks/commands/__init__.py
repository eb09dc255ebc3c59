"""The commands beside Luigi's own: run, status, forecast, repair, scheduler."""
