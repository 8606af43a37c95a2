"""Releases of an environment: registry, ledger, stages, rollback plan, running processes."""
