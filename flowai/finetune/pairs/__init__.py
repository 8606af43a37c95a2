"""Collects golden pairs from calls and feedback."""
