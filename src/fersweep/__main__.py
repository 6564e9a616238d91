"""``python -m fersweep``: the command ``fersweep``."""

import sys

from fersweep.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
