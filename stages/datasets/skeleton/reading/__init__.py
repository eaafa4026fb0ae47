"""Nothing: a file is a unit, so that find and encode share no reading."""
