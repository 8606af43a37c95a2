"""Filters that keep unsuitable pairs out of a training set."""
