"""Room: assertions."""
