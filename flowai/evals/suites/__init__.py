"""Suites, cases and datasets as files."""
