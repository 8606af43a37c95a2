"""Events, feedback and spans of calls."""
