"""Front matter and input schemas of prompt files."""
