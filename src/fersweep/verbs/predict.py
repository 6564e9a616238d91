"""Say what faces in pictures, videos or of a camera express."""

from __future__ import annotations

import argparse

HELP = "Say what faces in pictures, videos or of a camera express"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
