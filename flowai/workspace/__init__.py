"""What every command opens: registry, state, events."""
