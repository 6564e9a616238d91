"""Show where a network looks."""

from __future__ import annotations

import argparse

HELP = "Show where a network looks"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
