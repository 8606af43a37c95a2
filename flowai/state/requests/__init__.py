"""What the processes of a server share about requests: usage of tenants, and answers to repeat for retries."""
