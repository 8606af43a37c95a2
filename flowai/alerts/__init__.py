"""Room: what somebody must know: when failures are too many and whose fault it is; messages that survive a crash."""

from flowai.alerts.model import Alert, Delivery, DeliveryError, Sender
from flowai.alerts.outbox import Outbox, Outcome, Pending

__all__ = ["Alert", "Delivery", "DeliveryError", "Outbox", "Outcome", "Pending", "Sender"]
