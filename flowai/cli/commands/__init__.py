"""Commands, a file each: options, help, output."""
