"""The road of a flagged name: its target resolved in the background, its answer kept ready. It meets no client."""
