"""The packet path in C: threads without the interpreter's lock that forward, answer and refuse what is plain."""
