"""A DNS forwarding proxy that flattens flagged names and forwards everything else unchanged."""
