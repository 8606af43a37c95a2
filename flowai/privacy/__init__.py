"""Finds personal data and replaces it with placeholders."""
