"""Open a page to try a network."""

from __future__ import annotations

import argparse

HELP = "Open a page to try a network"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
