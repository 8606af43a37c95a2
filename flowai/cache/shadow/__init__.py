"""Shadow of the semantic cache: comparisons with answers that were paid for, and what may be served by them."""
