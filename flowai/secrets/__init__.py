"""Room: secrets."""
