"""Room: suites."""
