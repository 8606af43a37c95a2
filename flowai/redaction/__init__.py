"""Redaction of secrets: patterns of keys, and their removal from everything that is written or shown."""

from flowai.redaction.patterns import SECRET_PATTERNS
from flowai.redaction.redactor import Redactor, mark, names_a_secret, redact
from flowai.redaction.shape import SecretPattern

__all__ = ["SECRET_PATTERNS", "Redactor", "SecretPattern", "mark", "names_a_secret", "redact"]
