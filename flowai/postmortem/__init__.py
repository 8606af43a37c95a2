"""Post-mortem report of an incident."""
