"""Store of requests that the processes of a server share: usage of tenants, and answers to repeat for retries."""
