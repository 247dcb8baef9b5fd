"""The nameservers behind us: a pool, one file a transport, and their health."""
