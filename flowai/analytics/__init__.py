"""Figures from the event log, and a candidate held against its control."""
