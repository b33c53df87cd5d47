"""`python -m tutelage`: the command line."""

from tutelage.cli import main

if __name__ == "__main__":
    main()
