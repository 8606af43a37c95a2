"""Importers: exports of other tools become ordinary files of a project, with a list of what has no counterpart."""
