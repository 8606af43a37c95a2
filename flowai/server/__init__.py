"""Room: the HTTP gateway, OpenAI-compatible."""
