"""The way of an ordinary query: from the client's socket to the nameserver's and back. It never resolves a target."""
