"""What `check` and `explain` do: they ask what the configuration names, once, and say what they found."""
