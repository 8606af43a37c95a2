"""Admission of requests: fair slots, limits of tenants, and answers repeated for retries."""
