"""`python -m weightsearch` is the command `weightsearch`."""

from weightsearch.cli import main

if __name__ == "__main__":
    main()
