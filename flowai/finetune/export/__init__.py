"""Writes training sets: rows, dataset card, trainer configurations."""
