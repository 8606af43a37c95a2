"""Code of suites, run outside flowai's own process: in subprocesses with limits of time, memory and output."""
