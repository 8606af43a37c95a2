"""Anthropic's Messages protocol, without LiteLLM."""
