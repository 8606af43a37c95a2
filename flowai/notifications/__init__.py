"""Alerts and their delivery: an outbox that survives a crash, PagerDuty and webhooks."""

from flowai.notifications.outbox import DeliveryOutcome, Outbox, Pending
from flowai.notifications.records import Alert, Delivery, DeliveryError, Sender

__all__ = ["Alert", "Delivery", "DeliveryError", "DeliveryOutcome", "Outbox", "Pending", "Sender"]
