"""What several flatproxies share over a store that others run: resolutions, probes' verdicts, who is there."""
