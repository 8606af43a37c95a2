"""Canary report of a rollout: verdict, evidence, plots."""
