"""The Python API: what `import kaggle_digits` offers, loaded when it is used."""
