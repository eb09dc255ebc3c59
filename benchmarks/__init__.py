"""What things cost: scripts that are run by hand, and what they measured."""
