"""Train and test one network, or a sweep with -m; `--help` lists the options."""

import sys

try:
    from fersweep.cli.train import train  # Hydra's shell completion looks for the text @hydra.main
except ModuleNotFoundError as error:
    print(f"error: {error.name} is not installed in {sys.executable}: run it as uv run train.py.", file=sys.stderr)
    raise SystemExit(2) from error

if __name__ == "__main__":
    train(sys.argv[1:])
