"""The smoke run, which blocks or allows a deployment."""
