"""Binance's protocols served by the simulated venue: a product of its own, to test any client against."""
