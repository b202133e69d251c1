"""The processes: configuration, composition, logs, commands. Only here is everything put together."""
