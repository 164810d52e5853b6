"""A stand-in for the Hugging Face Hub's HTTP API: what downloads and uploads of models need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

RESOLVE = re.compile(r"/(?P<id>(?:spaces/)?[\w.-]+/[\w.-]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)")
API = re.compile(
    r"/api/(?P<kind>models|spaces)/(?P<id>[\w.-]+/[\w.-]+)/(?P<verb>\w+)/(?P<rev>[^/]+)"
)


@dataclass
class Repo:
    """Files of one commit; ``errors`` maps a file to the X-Error-Code that it is refused with."""

    files: dict[str, bytes]
    sha: str = "c0ffee" + "0" * 34
    revisions: tuple[str, ...] = ("main", "v1")
    gated: bool = False


@dataclass
class Hub:
    """Repos by id (Spaces as ``spaces/owner/name``), and the requests that were made."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    break_after: int | None = None  # bytes after which the next large answer ends, once

    def fetched(self) -> set[str]:
        """Files whose bytes were asked for."""
        found = (RESOLVE.fullmatch(path) for verb, path, _ in self.requests if verb == "GET")
        return {unquote(match["file"]) for match in found if match}


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _note(self) -> str:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        return path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._note()
        if match := RESOLVE.fullmatch(path):
            self._resolve(match)
        elif match := API.match(path):
            self._info(match)
        elif path == "/api/whoami-v2":
            self._json({"type": "user", "name": "me"})
        else:
            self._answer(404, X_Error_Code="EntryNotFound")

    def _found(self, repo_id: str, revision: str) -> Repo | None:
        repo = self.hub.repos.get(repo_id)
        if repo is None:
            self._answer(404, X_Error_Code="RepoNotFound")
        elif revision not in (*repo.revisions, repo.sha):
            self._answer(404, X_Error_Code="RevisionNotFound")
            return None
        return repo

    def _info(self, match: re.Match) -> None:
        prefix = "spaces/" if match["kind"] == "spaces" else ""
        repo = self._found(prefix + match["id"], match["rev"])
        if repo is None:
            return
        if match["verb"] == "tree":
            self._json(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                    for path, data in repo.files.items()
                ]
            )
        else:
            names = [{"rfilename": path} for path in repo.files]
            self._json({"id": match["id"], "sha": repo.sha, "siblings": names})

    def _resolve(self, match: re.Match) -> None:
        repo = self._found(match["id"], match["rev"])
        if repo is None:
            return
        if repo.gated:
            self._answer(403, X_Error_Code="GatedRepo")
            return
        data = repo.files.get(unquote(match["file"]))
        if data is None:
            self._answer(404, X_Error_Code="EntryNotFound")
            return
        headers = {"ETag": f'"{_oid(data)}"', "X_Repo_Commit": repo.sha, "Accept_Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        status = 200
        if asked:
            begin = int(asked[1])
            headers["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            data, status = data[begin:], 206
        if self.command == "GET" and self.hub.break_after and len(data) > self.hub.break_after:
            self._broken(data, headers)
            return
        self._answer(status, data, **headers)

    def _broken(self, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.hub.break_after])
        self.hub.break_after = None
        self.close_connection = True

    def do_PUT(self) -> None:
        path = self._note()
        self.hub.uploads[path.rpartition("/")[2]] = self._body()
        self._answer(200)

    def do_POST(self) -> None:
        path, body = self._note(), self._body()
        if not self.headers.get("Authorization"):
            self._answer(401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo_id = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.repos.setdefault(repo_id, Repo({}))
            self._json({"url": f"{self.hub.url}/{repo_id}", "id": repo_id})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._json(
                {
                    "transfer": "basic",
                    "objects": [self._slot(o) for o in json.loads(body)["objects"]],
                }
            )
        elif match := API.match(path):
            self._commit(match, body)
        else:
            self._answer(404)

    def _slot(self, wanted: dict) -> dict:
        actions = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
        return {**wanted, "actions": actions}

    def _commit(self, match: re.Match, body: bytes) -> None:
        repo = self.hub.repos[match["id"]]
        if match["verb"] == "preupload":
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            self._json({"files": modes})
            return
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repo.files[value["path"]] = self.hub.uploads[value["oid"]]
        url = f"{self.hub.url}/{match['id']}/commit/{repo.sha}"
        self._json({"commitUrl": url, "commitOid": repo.sha, "success": True})


def _oid(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
