"""Completions over HTTP: one endpoint, and one translation per protocol."""
