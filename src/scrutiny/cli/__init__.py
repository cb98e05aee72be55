"""The command line. Importing it loads typer alone; everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; turn our own errors into a message and an exit code."""
    from scrutiny.cli.app import app
    from scrutiny.core.errors import ScrutinyError

    try:
        app(standalone_mode=True)
    except ScrutinyError as error:
        print(f"scrutiny: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nscrutiny: stopped. What had finished is kept; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
