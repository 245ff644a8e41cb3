"""What every other part stands on: errors, data types, symbols, tensors without torch, the native module."""
