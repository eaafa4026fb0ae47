"""The parts of a split, and why a row may be in none of them."""

PARTS = ("train", "val", "test")
LEFT_OUT = ("purged", "embargoed", "looked_ahead")  # why a row is in no part
