"""Two sets or runs against each other."""
