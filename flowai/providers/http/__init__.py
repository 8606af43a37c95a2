"""HTTP connections to providers: pooled, through the environment's proxies, with the environment's certificates."""
