"""Strategies: what to trade. They emit intents and never touch a venue."""
