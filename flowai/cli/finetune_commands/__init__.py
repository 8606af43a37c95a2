"""The commands of `flowai finetune`, one module each."""
