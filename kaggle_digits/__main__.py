"""`python -m kaggle_digits` is the command `kaggle-digits`."""

from kaggle_digits.shell.cli import main

if __name__ == "__main__":
    main()
