"""Room: from the event log to training files: golden pairs, cleaning, split, formats, checks, card."""
