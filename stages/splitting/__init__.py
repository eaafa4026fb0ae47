"""What split decides: parts, order, windows, moments and counts."""
