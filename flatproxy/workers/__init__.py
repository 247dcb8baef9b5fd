"""Packet processes beside the one that resolves: how they are started, told, counted and replaced."""
