"""Nothing: find and encode share no reading."""
