"""Artifacts of the fake W&B server: created, uploaded, committed; equal content makes no new version."""

from __future__ import annotations

import json
from typing import Any


class Artifacts:
    """What the server keeps of artifacts.

    Attributes:
        versions: committed artifacts by the name of their collection, in order: type, metadata, aliases, files.
        refused: files whose upload the server refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self.refused: set[str] = set()
        self._open: dict[str, dict[str, Any]] = {}
        self._uploaded: dict[str, bytes] = {}

    def answer(self, operation: str, variables: dict[str, Any]) -> Any:
        """Return the ``data`` of a GraphQL answer; ``None`` for an operation without artifacts."""
        match operation:
            case "FetchArtifactDigestAlgorithm":
                return {"project": {"artifactType": {"artifactCollection": None}}}
            case "CreateArtifact":
                return {"createArtifact": {"artifact": self._create(variables["input"])}}
            case "CreateArtifactManifest":
                uploads = variables["includeUpload"]
                path = f"{variables['artifactID']}/{variables['name']}"
                file = {"id": path, "uploadUrl": f"{self.url}/artifact/{path}" if uploads else None}
                manifest = {"id": f"manifest of {variables['artifactID']}", "file": file | {"uploadHeaders": []}}
                return {"createArtifactManifest": {"artifactManifest": manifest}}
            case "UpdateArtifactManifest":
                path = f"{variables['artifactManifestID'].removeprefix('manifest of ')}/wandb_manifest.json"
                file = {"id": path, "uploadUrl": f"{self.url}/artifact/{path}", "uploadHeaders": []}
                return {
                    "updateArtifactManifest": {
                        "artifactManifest": {"id": variables["artifactManifestID"], "file": file}
                    }
                }
            case "CreateArtifactFiles":
                edges = [{"node": self._file(each)} for each in variables["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": self._commit(variables["artifactID"])}}
        return None

    def put(self, path: str, body: bytes) -> bool:
        """Keep an uploaded file; return whether it is accepted."""
        name = path.partition("/artifact/")[2]
        if name.partition("/")[2] in self.refused:
            return False
        self._uploaded[name] = body
        return True

    def _create(self, sent: dict[str, Any]) -> dict[str, Any]:
        collection = sent["artifactCollectionName"]
        versions = self.versions.setdefault(collection, [])
        latest = None if not versions else {"id": versions[-1]["id"], "versionIndex": len(versions) - 1}
        same = next((each for each in versions if each["digest"] == sent["digest"]), None)
        sequence = {"id": collection, "latestArtifact": latest}
        if same is not None:
            return {"id": same["id"], "state": "COMMITTED", "artifactSequence": sequence}
        identity = f"a{len(self._open)}"
        self._open[identity] = {
            "id": identity,
            "collection": collection,
            "digest": sent["digest"],
            "type": sent["artifactTypeName"],
            "metadata": json.loads(sent["metadata"] or "{}"),
            "aliases": sorted(each["alias"] for each in sent["aliases"]),
        }
        return {"id": identity, "state": "PENDING", "artifactSequence": sequence}

    def _file(self, sent: dict[str, Any]) -> dict[str, Any]:
        path = f"{sent['artifactID']}/{sent['name']}"
        address = {"uploadUrl": f"{self.url}/artifact/{path}", "uploadHeaders": [], "uploadMultipartUrls": None}
        about = {"id": path, "name": sent["name"], "displayName": sent["name"], "storagePath": path}
        return {**about, **address, "artifact": {"id": sent["artifactID"]}}

    def _commit(self, identity: str) -> dict[str, Any]:
        found = self._open[identity]
        inside = {
            name.partition("/")[2]: body for name, body in self._uploaded.items() if name.startswith(f"{identity}/")
        }
        manifest = json.loads(inside.pop("wandb_manifest.json"))
        assert set(manifest["contents"]) == set(inside)
        self.versions[found["collection"]].append(found | {"files": inside})
        return {"id": identity, "digest": found["digest"]}
