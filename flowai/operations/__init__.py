"""Room: operations."""
