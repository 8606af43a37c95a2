"""Lets `python -m flowai` be `flowai`."""

from flowai.cli.main import main

if __name__ == "__main__":
    main()
