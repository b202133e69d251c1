"""The simulated venue behind the protocols of Binance, for clients that cannot tell."""
