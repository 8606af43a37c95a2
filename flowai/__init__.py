"""flowai carries a prompt or a model change from idea to production and back."""

__version__ = "0.1.0"
