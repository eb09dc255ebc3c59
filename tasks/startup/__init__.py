"""What happens before Luigi is imported: output streams and configuration files."""
