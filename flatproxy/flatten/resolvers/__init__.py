"""Who resolves targets, one file a kind of resolver."""
