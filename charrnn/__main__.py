"""The program: `charrnn` and `python -m charrnn`."""

import sys


def main() -> None:
    """Runs the command line. Ctrl-C ends the program without a traceback, even while modules are being imported."""
    try:
        from charrnn.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
