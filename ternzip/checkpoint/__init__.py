"""Other people's checkpoints: reading .pt, .safetensors and sharded folders, writing .pt and .safetensors.

This module stays light; `load` imports torch when a file needs it.
"""
