"""Runs that are interrupted at random moments, or damaged, and what they come to: `make kills`."""
