"""Code of suites, run outside flowai's own process."""
