"""Files, code and variables of the environment that a suite names."""
