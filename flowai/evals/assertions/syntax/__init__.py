"""Checks of answers that are or contain HTML, XML or SQL."""
