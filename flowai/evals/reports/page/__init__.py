"""Compare page of a run: one HTML file with its data, style and script."""
