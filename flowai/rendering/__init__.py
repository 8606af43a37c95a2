"""Formats values and hostile text for people: numbers, Markdown, HTML pages, report files."""
