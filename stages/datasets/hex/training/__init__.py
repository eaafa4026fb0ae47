"""What a trainer of Hex positions needs."""
