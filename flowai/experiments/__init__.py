"""A/B tests inside a feature: report, stop, adopt."""
