"""Finds what changed in an incident: onset, subgroups, error clusters."""
