"""The configuration: what it may say (settings) and how a file becomes it (load)."""
