"""The proxy between embedded stand-ins on loopback: what `flatproxy demo` runs, without internet and without root."""
