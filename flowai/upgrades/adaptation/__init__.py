"""Adaptation of a prompt to the new model: a model rewrites it, cases that it never saw decide."""
