"""Two arms side by side: counts, evidence, validity, verdict."""
