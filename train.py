"""Train and test one network, or with -m a sweep of them; `--help` lists the choices."""

import sys

from fersweep.main import train

if __name__ == "__main__":
    train(sys.argv[1:])
