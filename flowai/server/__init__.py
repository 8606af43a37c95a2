"""The HTTP gateway, OpenAI-compatible."""
