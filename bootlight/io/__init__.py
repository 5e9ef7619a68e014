"""Files that are whole or absent, pictures, locks, the cache."""
