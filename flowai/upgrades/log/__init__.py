"""Logged requests of users: sampled, answered by both models, checked, compared by a judge."""
