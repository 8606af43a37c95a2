"""Calls through LiteLLM."""
