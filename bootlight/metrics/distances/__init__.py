"""Distances between sets of features, with their errors."""
