"""A fake W&B server, and users with and without a login."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from wandb_artifacts import Artifacts

KEY = "5ecre7" * 6 + "beef"


class Server(ThreadingHTTPServer):
    """The requests of ``wandb sync`` and of reports. A row whose step does not exceed the last one is dropped."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()
        self.projects = ["faces"]
        self.views: list[dict[str, Any]] = []
        self.gone = False
        self.artifacts = Artifacts(self.url)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore killed clients."""

    def answer(self, operation: str, variables: dict[str, Any]) -> Any:
        """Return the ``data`` of a GraphQL answer."""
        match operation:
            case "Viewer":
                return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "RunResumeStatus":
                return {"model": {"id": "p", "name": "faces", "entity": ENTITY, "bucket": self.state(variables)}}
            case "UpsertBucket":
                return {"upsertBucket": {"bucket": self.upsert(variables), "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "GetProjects":
                about = {"entityName": "me", "createdAt": "", "isBenchmark": False, "user": None}
                nodes = [{"node": {"id": "p", "name": name, **about}} for name in self.projects]
                return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": nodes}}
            case "ProjectViews":
                edges = [
                    {"node": view, "cursor": view["id"]} for view in self.views if view["type"] == variables["viewType"]
                ]
                page = {"endCursor": None, "hasNextPage": False}
                return {"project": {"allViews": {"edges": edges, "pageInfo": page}}}
            case "upsertView" | "UpsertView2":
                return {"upsertView": {"view": self.keep(variables), "inserted": True}}
        found = self.artifacts.answer(operation, variables)
        assert found is not None, f"unexpected {operation}"
        return found

    def keep(self, view: dict[str, Any]) -> dict[str, Any]:
        """Keep a report or workspace, in place of that with its id, if it has one."""
        of = {"project": {"id": "p", "name": view["projectName"], "entityName": view["entityName"]}}
        known = next((each for each in self.views if each["id"] == view.get("id")), None)
        if known is None:
            known = {"id": f"v{len(self.views) + 1}", "createdAt": "2026-01-01T00:00:00Z"}
            self.views.append(known)
        known |= {key: value for key, value in view.items() if key != "id"} | of
        known["updatedAt"] = f"2026-01-{len(self.calls) % 27 + 1:02}T00:00:00Z"
        return known

    def state(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        run = self.runs.get(variables["name"])
        if run is None:
            return None
        counts = {"historyLineCount": len(run["history"]), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(row) for row in run["history"][-1:]]), "eventsTail": "[]"}
        told = {"summaryMetrics": json.dumps(run["summary"]), "config": "{}", "wandbConfig": '{"t": {}}'}
        return (
            {"id": "r", "name": variables["name"], "displayName": "", "tags": [], "notes": None} | counts | tails | told
        )

    def upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], {"history": [], "summary": {}, "dropped": 0})
        run |= {key: variables[key] for key in ("groupName", "jobType", "displayName", "tags") if variables[key]}
        if variables["config"]:
            run["config"] = json.loads(variables["config"])
        where = {"project": {"id": "p", "name": variables["project"], "entity": ENTITY}}
        return {"id": "r", "name": variables["name"], "historyLineCount": len(run["history"])} | where

    def stream(self, name: str, sent: dict[str, Any]) -> None:
        run = self.runs[name]
        for line in sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", []):
            row = json.loads(line)
            if run["history"] and row["_step"] <= run["history"][-1]["_step"]:
                run["dropped"] += 1
            else:
                run["history"].append(row)
        for line in sent.get("files", {}).get("wandb-summary.json", {}).get("content", []):
            run["summary"] = json.loads(line)
        if sent.get("complete"):
            run["exitcode"] = sent["exitcode"]


ENTITY = {"id": "e", "name": "me"}


class Handler(BaseHTTPRequestHandler):
    """HTTP handler of `Server`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_PUT(self) -> None:
        body = self.body()
        kept = "/artifact/" not in self.path or self.server.artifacts.put(unquote(self.path), body)
        self.reply(200 if kept else 403, {})

    def do_POST(self) -> None:
        sent = json.loads(self.body())
        if self.path.endswith("/file_stream"):
            run = self.path.split("/")[-2]
            self.server.calls.append(f"stream {run}")
            if self.server.gone:
                self.reply(502, "gone")  # which W&B takes as a reason to try again, for long
            elif run in self.server.refused:
                self.reply(403, {"error": f"no room for you, {KEY}"})
            else:
                self.server.stream(run, sent)
                self.reply(200, {})
            return
        operation = sent.get("operationName") or re.split(r"\W+", sent["query"].strip())[1]
        self.server.calls.append(operation)
        if self.server.gone and self.server.calls.count("Viewer") > 1:
            self.reply(502, "gone")
        elif KEY not in self.password():
            self.reply(401, {"errors": [{"message": "who are you"}]})
        elif operation == "UpsertBucket" and f"!{sent['variables']['name']}" in self.server.refused:
            self.reply(403, {"errors": [{"message": f"{KEY} may not"}]})
        elif operation in self.server.refused:
            self.reply(403, {"errors": [{"message": "not yours"}]})
        else:
            self.reply(200, {"data": self.server.answer(operation, sent.get("variables") or {})})

    def password(self) -> str:
        return base64.b64decode(self.headers.get("Authorization", "Basic ").removeprefix("Basic ")).decode()

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def reply(self, code: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def no_account(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """A user without a login, with ``folder`` as home and a server that does not answer."""
    import wandb

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(folder))
        patch.setenv("NETRC", str(folder / "no-netrc"))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_MODE", "offline")  # sending goes out nevertheless
        with socket.create_server(("127.0.0.1", 0)) as closed:
            patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        wandb.teardown()
        yield patch
        wandb.teardown()


@contextmanager
def account(folder: Path) -> Iterator[Server]:
    """A server, and a user with a login to it."""
    with no_account(folder) as patch, Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        patch.setenv("WANDB_BASE_URL", server.url)
        patch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()
