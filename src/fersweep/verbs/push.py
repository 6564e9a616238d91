"""Put a network on the Hugging Face Hub."""

from __future__ import annotations

import argparse

HELP = "Put a network on the Hugging Face Hub"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""


def run(parsed: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    raise NotImplementedError
