"""The .tnz container: bytes and numpy only, no torch. docs/FORMAT.md is its specification."""
