"""Train and test one network, or a sweep with -m; `--help` lists the options."""

import sys

from fersweep.cli.train import train  # Hydra's shell completion looks for the text @hydra.main

if __name__ == "__main__":
    train(sys.argv[1:])
