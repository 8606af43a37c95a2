"""Names and addresses by the words of single scripts and languages."""
