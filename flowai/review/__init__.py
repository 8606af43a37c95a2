"""The review of golden pairs: queue, candidates, automatic labels."""
