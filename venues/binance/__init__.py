"""Binance: what its frames mean, how requests are signed, the connection that carries them."""
