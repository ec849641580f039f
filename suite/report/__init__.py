"""One table object and one board, in every format."""
