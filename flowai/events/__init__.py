"""Room: events."""
