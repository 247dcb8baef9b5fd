"""The process around both halves: the composition root, signals, reloads, systemd, privileges. No DNS lives here."""
