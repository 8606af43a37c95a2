"""Runs of suites: plan, trials, run log, resume."""
