"""Post-mortem reports of incidents."""
