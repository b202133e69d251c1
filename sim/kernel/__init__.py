"""The compiled venue: books, queues, matching and clocks as functions over arrays of whole ticks and lots."""
