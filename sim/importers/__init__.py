"""Other people's files as rows, one module per format."""
