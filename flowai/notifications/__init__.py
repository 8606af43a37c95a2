"""What somebody must know: when failures are too many and whose fault it is; messages that survive a crash."""

from flowai.notifications.outbox import DeliveryOutcome, Outbox, Pending
from flowai.notifications.records import Alert, Delivery, DeliveryError, Sender

__all__ = ["Alert", "Delivery", "DeliveryError", "DeliveryOutcome", "Outbox", "Pending", "Sender"]
