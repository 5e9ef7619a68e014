"""Real and synthetic images as training data: reading, decoding once, mixing, batches."""
