"""Write a network for use elsewhere."""

from __future__ import annotations

import argparse

HELP = "Write a network for use elsewhere"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
