"""From logs to a fine-tuned model: what is cleaned, kept, split and written for training."""
