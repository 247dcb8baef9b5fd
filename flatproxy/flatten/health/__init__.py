"""Probes of targets' addresses: when to probe, how, and what it says of an address."""
