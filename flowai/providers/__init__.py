"""Calls to models, through one protocol."""

from flowai.providers.client import ChatMessage, Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
from flowai.providers.factory import create_client
from flowai.providers.prices import Price, PriceTable

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
    "create_client",
]
