"""What find and encode share of reading bars: the header, rows, times and segments."""
