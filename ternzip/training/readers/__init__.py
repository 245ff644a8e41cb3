"""Readers of image data sets, a module a layout of files; `ternzip.training.datasets` chooses among them.

Importing this module imports none of them.
"""
