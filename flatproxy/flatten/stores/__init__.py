"""Where answers survive a restart, one file a kind of store."""
