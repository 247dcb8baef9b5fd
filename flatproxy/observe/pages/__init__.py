"""The status page and its JSON: what the service knows, for people and for programs."""
