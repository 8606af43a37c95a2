"""A working project in a new or existing folder."""

from flowai.scaffold.initialise import InitOptions, initialise
from flowai.scaffold.records import FileOutcome, InitReport

__all__ = ["FileOutcome", "InitOptions", "InitReport", "initialise"]
