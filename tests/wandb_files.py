"""Reader of W&B's offline recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file: a 7-byte header, then a LevelDB log of protobuf messages.

    A block is 32 KiB; a chunk in it has 4 bytes of checksum, 2 of length and 1 of type (1 whole, 2 first, 3 middle,
    4 last); fewer than 7 bytes at the end of a block are padding.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, message = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            yield record
            message = b""


def content(path: Path) -> dict[str, Any]:
    """Return the content of a ``.wandb`` file: id, group, config, history, summary, artifacts and exit code."""
    found: dict[str, Any] = {"ids": [], "config": {}, "history": {}, "summary": {}, "artifacts": {}}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["ids"].append(record.run.run_id)
            found |= {"group": record.run.run_group, "name": record.run.display_name, "job": record.run.job_type}
            found["tags"] = list(record.run.tags)
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind in ("history", "summary"):
            items = record.history.item if kind == "history" else record.summary.update
            found[kind] |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        elif kind == "artifact":
            about = record.artifact
            files = [each.path for each in about.manifest.contents]
            metadata = json.loads(about.metadata or "{}")
            found["artifacts"][about.name] = {
                "type": about.type,
                "aliases": sorted(about.aliases),
                "metadata": metadata,
                "files": sorted(files),
            }
        elif kind == "exit":
            found["exit_code"] = record.exit.exit_code
    return found
