"""GGUF files, the models of llama.cpp: their layout, and the blocks of their ternary types."""
