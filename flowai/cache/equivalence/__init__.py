"""Equivalence gate of the semantic cache."""
