"""Compares assertions with promptfoo's."""
