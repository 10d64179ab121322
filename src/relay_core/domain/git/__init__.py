"""Names, addresses and patches of git as values."""
