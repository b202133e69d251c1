"""What venues decree, as pure functions and dated tables."""
