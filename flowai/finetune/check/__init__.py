"""Checks of training files in any supported format."""
