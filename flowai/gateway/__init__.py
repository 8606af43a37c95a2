"""Room: the gateway: a call that does not fail."""
