"""The local review page and its server."""
