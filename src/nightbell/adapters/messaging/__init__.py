"""Text messages by providers."""
