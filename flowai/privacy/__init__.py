"""Finds private values and replaces them with placeholders."""
