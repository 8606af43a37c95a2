"""Analysis of an incident: onset, subgroups, error clusters."""
