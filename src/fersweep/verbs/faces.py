"""Find faces in pictures and cut them out."""

from __future__ import annotations

import argparse

HELP = "Find faces in pictures and cut them out"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
