"""A market's rows in one file that is read by mapping it: Arrow IPC batches, each with its own checksum."""
