"""`python -m circuitry`: the same as the command `circuitry`."""

import sys

from circuitry.cli import main

if __name__ == "__main__":
    sys.exit(main())
