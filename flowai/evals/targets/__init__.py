"""Targets of suites: models and programs that answer prompts."""
