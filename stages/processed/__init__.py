"""The one reader of data/processed: its parts, files, packed rows, windows and names."""

from stages.processed.reader import Processed

__all__ = ["Processed"]
