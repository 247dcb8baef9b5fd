"""Where clients ask: one file a transport, and the sockets that they listen on."""
