"""Evaluation: suites, assertions, runs, reports, gates and the smoke run."""
