"""Calls of models: one protocol, and the clients behind it."""

from flowai.calls.client import Chunk, Client, Completion, EmbedRequest, Embeddings, Endpoint, Measure, Request
from flowai.calls.prices import Price, PriceTable

