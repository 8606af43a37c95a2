"""Shared by the tests: projects on disk, event logs, servers on loopback."""
