"""`python -m tailrec`: the command line."""

from tailrec.cli import main

if __name__ == "__main__":
    main()
