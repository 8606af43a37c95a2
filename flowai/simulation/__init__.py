"""Synthetic event logs of rollouts, from scenarios whose truth is known."""
