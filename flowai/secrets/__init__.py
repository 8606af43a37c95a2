"""Keys of a project: from where they come, whether they work, how old they are, and files that contain one."""
