"""Decisions of reviewers about golden pairs, and their log."""
