"""Octets and what they mean. No socket, no clock and no logging lives here."""
