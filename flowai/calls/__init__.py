"""Room: calls to models, through one protocol."""

from flowai.calls.client import (
    ChatMessage,
    Chunk,
    Client,
    Completion,
    Embeddings,
    EmbedRequest,
    Endpoint,
    Request,
)
from flowai.calls.connect import connect
from flowai.calls.prices import Price, PriceTable

__all__ = [
    "ChatMessage",
    "Chunk",
    "Client",
    "Completion",
    "EmbedRequest",
    "Embeddings",
    "Endpoint",
    "Price",
    "PriceTable",
    "Request",
    "connect",
]
