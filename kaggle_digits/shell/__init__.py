"""The shell: the command line, progress and output. Only here (and in `commands.py`) is printed."""
