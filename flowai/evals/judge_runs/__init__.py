"""Runs of judges outside suites: their measured error, and their verdicts on logged answers."""
