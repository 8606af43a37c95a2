"""Context of a command: project, registry, event log."""
