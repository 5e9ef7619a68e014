"""Networks that learn from the real images before they can judge others."""
