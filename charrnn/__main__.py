"""The program: `charrnn`, and `python -m charrnn`."""

import sys


def main() -> None:
    """Runs the command line. Ctrl-C is heard from the first moment on, before anything of size is imported."""
    try:
        from charrnn.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
