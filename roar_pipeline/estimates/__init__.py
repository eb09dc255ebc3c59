"""What stages cost before they run: operations, memory, time."""
