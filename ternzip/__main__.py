"""`python -m ternzip`: the command line."""

from ternzip.cli import main

if __name__ == "__main__":
    main()
