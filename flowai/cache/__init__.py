"""Response caches: exact and semantic, on disk and in Redis."""
