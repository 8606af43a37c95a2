"""The gateway: a call that does not fail."""
