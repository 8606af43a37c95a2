"""One file per command: options, help, output."""
