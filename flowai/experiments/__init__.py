"""A/B tests inside a feature: judging, reporting, ending."""
