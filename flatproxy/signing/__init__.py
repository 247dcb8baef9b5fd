"""Signatures for flattened answers. No socket, no task, no clock lives here: `now` is passed, in wall-clock seconds."""
