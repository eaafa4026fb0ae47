"""The one reader of data/processed: its parts, files, packed rows, windows and names."""
