"""What find and encode share of reading .trmph files: the keys of units, which say where in a file a piece begins."""
