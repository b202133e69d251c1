"""How an order is cut in time and size."""
