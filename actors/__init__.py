"""What the desk does, as synchronous state machines without I/O, clock or randomness."""
