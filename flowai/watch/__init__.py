"""Watches the event log, notifies people, rolls back a candidate that fails."""
