"""The kernel: the whole tool as one script that runs on Kaggle's machines, and its way back."""
