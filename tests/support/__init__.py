"""What the integration tests stand on: real nameservers, the proxy as a process, and stand-ins with a script."""
