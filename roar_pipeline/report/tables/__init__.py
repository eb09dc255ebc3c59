"""The report's tables, as text and as HTML."""
