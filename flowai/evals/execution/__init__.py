"""Execution of what suites declare besides prompts and cases: targets, code, transforms, metrics."""
