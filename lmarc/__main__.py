"""python -m lmarc."""

from lmarc.cli.main import main

if __name__ == "__main__":
    main()
