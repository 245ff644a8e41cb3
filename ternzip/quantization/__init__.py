"""Ternary training in any loop: `prepare` a model, move its thresholds, `convert` it."""
