"""Room: messages to people and machines outside: an outbox that survives a crash, PagerDuty, webhooks."""

from flowai.alerts.model import Alert, Delivery, DeliveryError, Sender
from flowai.alerts.outbox import Outbox, Outcome, Pending

__all__ = ["Alert", "Delivery", "DeliveryError", "Outbox", "Outcome", "Pending", "Sender"]
