"""The template language: lexer, parser, compiler."""
