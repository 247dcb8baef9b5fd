"""The packet path in C, what it is told, and what it hands over."""
