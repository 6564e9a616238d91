"""Train and test one network, or with -m a sweep of them; `--help` lists the choices."""

import sys

import hydra
from omegaconf import DictConfig

from fersweep.compose import check_command_line
from fersweep.config import register

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Hand the composed configuration on."""
    from fersweep.run import run

    return run(cfg)


if __name__ == "__main__":
    sys.argv[1:] = check_command_line(sys.argv[1:])
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
