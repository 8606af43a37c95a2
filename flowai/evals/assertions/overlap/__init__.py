"""Checks by the words that an answer shares with reference texts: BLEU, GLEU, ROUGE-N, METEOR."""
