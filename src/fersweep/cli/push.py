"""Upload a network to the Hugging Face Hub. The files are those of `fersweep export`: all formats and a model card."""

from __future__ import annotations

import argparse

from fersweep.cli import arguments


def add(parser: argparse.ArgumentParser) -> None:
    arguments.checkpoint(parser)
    parser.add_argument("repo", metavar="REPO", help="OWNER/NAME, or NAME for your own account; created if missing")
    parser.add_argument("--private", action="store_true", help="create a private repository")


def run(parsed: argparse.Namespace) -> int:
    from fersweep.inference.export import hub

    print(hub.push(parsed.checkpoint, parsed.repo, parsed.private))
    return 0
