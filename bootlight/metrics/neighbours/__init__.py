"""Metrics by nearest neighbours in feature space."""
