"""A venue in a box: matching, latency, accounts, recordings, synthetic markets, scenario files."""
