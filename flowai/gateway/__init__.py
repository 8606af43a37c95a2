"""The gateway: one call from the request to the answer, with fallback, caches and budgets."""
