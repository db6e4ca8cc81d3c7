"""Members and blends: configurations trained by cross-validation, their softmax averaged."""
