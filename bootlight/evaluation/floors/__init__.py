"""What real images score in the place of synthetic ones, and whether a score can be believed at all."""
