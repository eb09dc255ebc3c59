"""The commands of ``roar``: one module per command, with the command's name."""
