"""Side-by-side measurements: flatproxy beside dnsdist and PowerDNS ALIAS, in one run on one machine."""
