"""Feature networks, how they are called, and what of their answers is kept."""
