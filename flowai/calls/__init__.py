"""Room: calls."""
