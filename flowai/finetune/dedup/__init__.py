"""Near duplicates, contamination by evaluation cases, and the train/test split."""
