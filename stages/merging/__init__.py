"""What merge decides: which groups stay, in which order, and the account of what did not."""
