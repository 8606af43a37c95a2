"""Routing of a call: assignment, fallback chain, circuit breakers, budgets."""
