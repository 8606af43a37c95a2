"""Suites, cases and datasets as people write them."""
