"""The one reader of data/processed: its parts, files, packed rows, windows and names."""

from stages.processed.features import Feature
from stages.processed.reader import Processed

__all__ = ["Feature", "Processed"]
