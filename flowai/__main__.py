"""Lets `python -m flowai` be `flowai`."""

from flowai.cli.app import main

if __name__ == "__main__":
    main()
