"""The core: data, folds, augmentation, networks, training and predictions as arrays and values."""
