"""A dataset whose raw files are little scripts, to make workers slow, large or fail on purpose; see `encode`."""
