"""What both halves share: targets, answers, zones, and one feed of their changes. No socket, no task, no clock."""
