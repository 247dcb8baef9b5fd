"""Dynamic updates of the zone's own records, so that who asks the nameserver itself is told the same."""
