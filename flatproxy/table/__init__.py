"""What both halves share: targets, answers, zones, and one feed of their changes; no socket, task or clock."""
