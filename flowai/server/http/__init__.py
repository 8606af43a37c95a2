"""HTTP plumbing below the endpoints: listener, limits, bodies."""
