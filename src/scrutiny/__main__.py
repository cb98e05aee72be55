"""``python -m scrutiny`` does what ``scrutiny`` does."""

from scrutiny.cli import main

if __name__ == "__main__":
    main()
