"""What happens to releases: published, promoted, rolled back, and the ledger of it."""
