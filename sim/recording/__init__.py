"""Recorded market data: one line per frame, `<local ns> <raw frame>`, plain, gzip (`.gz`) or zstd (`.zst`)."""
