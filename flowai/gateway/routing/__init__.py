"""Which model answers: assignment, fallback chain, circuit breaker, budget."""
