"""Measuring any two sets of images: where they lie, their features, all metrics in one pass, and comparing the scores."""
