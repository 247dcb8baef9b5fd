"""What an operator sees: metrics, the HTTP side and the log. Nothing here decides anything about DNS."""
