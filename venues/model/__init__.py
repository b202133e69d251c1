"""The vocabulary every floor shares: instruments, orders, fills, positions, accounts, books."""
