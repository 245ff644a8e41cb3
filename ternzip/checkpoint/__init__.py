"""Other people's checkpoints: reading and writing safetensors', numpy's, GGUF and PyTorch's files.

All pass through as element types, shapes and bytes. Torch is imported for PyTorch's own files only.
"""
