"""What all suites stand on: nameservers, a scripted one, a small internet, the proxy as a process, raw messages."""
