"""What find and encode share of reading the store: its rows, their order and owners, and their JSON."""
