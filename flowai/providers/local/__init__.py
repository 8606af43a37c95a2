"""Models served by llama.cpp on this machine."""
