"""Tensors of torch in .tnz files: whole files, bytes, single tensors."""
