"""The audit log: refused keys, changed keys and release steps, apart from events."""

from flowai.audit.audit_log import AuditLog, audit_directory
from flowai.audit.records import AuditAction, AuditRecord

__all__ = ["AuditAction", "AuditLog", "AuditRecord", "audit_directory"]
