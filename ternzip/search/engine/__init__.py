"""The Bayesian engine: a Gaussian process with known noise, and where to look next. Needs BoTorch."""
