"""`python -m taskmeter` is the command line."""

from taskmeter.cli import main

if __name__ == "__main__":
    main()
