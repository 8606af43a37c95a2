"""Names and settings of promptfoo's providers, in the terms of flowai and LiteLLM; reads no file and calls nothing."""
