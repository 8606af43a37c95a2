"""Models that providers list, and the models that may follow a retired one."""
