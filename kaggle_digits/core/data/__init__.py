"""The competition's data: a folder or a zip of CSV files in, checked and cached arrays out."""

from kaggle_digits.core.data.dataset import Dataset, load

__all__ = ["Dataset", "load"]
