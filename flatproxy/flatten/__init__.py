"""The half that resolves: targets and zones are asked about in the background, and the table is kept. No client."""
