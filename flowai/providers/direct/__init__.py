"""Calls to endpoints with OpenAI's protocol, over connections of flowai's own."""
