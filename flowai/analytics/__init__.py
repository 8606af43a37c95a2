"""Tables and figures from the event log."""
