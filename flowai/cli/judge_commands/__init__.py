"""The commands of `flowai judge`, one module each."""
