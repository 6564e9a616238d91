"""Train and test one network, or with -m a sweep of them; `--help` lists the choices."""

import sys

from fersweep.cli.train import train  # calls @hydra.main, by which a shell knows that it can complete arguments

if __name__ == "__main__":
    train(sys.argv[1:])
