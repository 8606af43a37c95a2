"""The second gate of the semantic cache: decides by rules whether two questions may share an answer."""
