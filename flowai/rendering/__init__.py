"""Turns values and hostile text into what people read: formatted numbers, Markdown, HTML pages, report files."""
