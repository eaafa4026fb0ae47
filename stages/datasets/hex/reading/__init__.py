"""What find and encode share of reading .trmph files: where in a file the pieces begin."""
