"""OpenAI's wire protocol: streams, tool calls, embeddings."""
