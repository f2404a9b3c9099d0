"""A Hugging Face Hub on the loopback, as far as its own client needs one to write and read repositories of models.

The paths, fields and headers are those that ``huggingface_hub`` sends and reads; nothing else speaks to it.
"""

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
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

TOKEN = "hf_" + "t" * 34
OWNER = "researcher"


@dataclass
class Repository:
    """The files of each commit, by path, the oldest first."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a commit, which keeps the files of the last; its hash."""
        whole = {**next(reversed(self.commits.values()), {}), **files}
        name = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[name] = whole
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit by its hash, or the last by the name of the main branch."""
        name = next(reversed(self.commits), None) if revision == "main" else revision
        return None if name not in self.commits or name is None else (name, self.commits[name])


class HubServer(ThreadingHTTPServer):
    """Repositories in memory, of one account."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        """Method and path of each request."""


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._resolve(body=True)

    def do_HEAD(self) -> None:
        self._resolve(body=False)

    def do_PUT(self) -> None:
        content, (kind, oid) = self._body(), self.path.strip("/").split("/")
        if kind != "large" or hashlib.sha256(content).hexdigest() != oid:
            return self._refuse(400, "BadRequest", "not the file that was announced")
        self.server.large[oid] = content
        self._answer({})

    def do_POST(self) -> None:
        content = self._body()
        if self.path == "/api/validate-yaml":
            card = json.loads(content)["content"]
            found = yaml.safe_load(card.split("---\n")[1])
            return self._answer({}) if isinstance(found, dict) else self._refuse(400, "BadRequest", "no metadata")
        if self.path == "/api/repos/create":
            return self._create(json.loads(content))
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit)/main", self.path):
            return self._write(found[1], found[2], content)
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", self.path):
            objects = json.loads(content)["objects"]
            return self._answer({"objects": [self._upload(each) for each in objects], "transfer": "basic"})
        self._refuse(404, "NotFound", self.path)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if not self._allowed(name):
            return
        if name in self.server.repositories:
            return self._refuse(409, "", "You already created this model repo")
        self.server.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        self._answer({"url": f"{self.server.endpoint}/{name}"})

    def _write(self, name: str, what: str, content: bytes) -> None:
        if not self._allowed(name):
            return
        if what == "preupload":
            files = [
                {"path": each["path"], "uploadMode": _mode(each["path"]), "shouldIgnore": False, "oid": None}
                for each in json.loads(content)["files"]
            ]
            return self._answer({"files": files})
        added = {}
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                added[value["path"]] = self.server.large[value["oid"]]
        oid = self.server.repositories[name].commit(added)
        self._answer({"commitUrl": f"{self.server.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {**asked, "actions": {"upload": {"href": f"{self.server.endpoint}/large/{asked['oid']}", "header": {}}}}

    def _resolve(self, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path)
        repository = self.server.repositories.get(found[1]) if found else None
        if found is None or repository is None or (repository.private and not self._logged_in()):
            return self._refuse(401 if not self._logged_in() else 404, "RepoNotFound", "Repository not found")
        if (commit := repository.at(found[2])) is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        oid, files = commit
        if found[3] not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found", commit=oid)
        content = files[found[3]]
        self.send_response(200)
        self.send_header("X-Repo-Commit", oid)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _logged_in(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _allowed(self, name: str) -> bool:
        """Whether the client may write; it was told if not."""
        self.server.asked.append(f"{self.command} {self.path}")
        if not self._logged_in():
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif not name.startswith(f"{OWNER}/"):
            self._refuse(
                403, "", f"You don't have the rights to create a model under the namespace {name.split('/')[0]!r}"
            )
        else:
            return True
        return False

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, content: dict[str, Any], status: int = 200, **headers: str) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _refuse(self, status: int, code: str, message: str, commit: str = "") -> None:
        headers = {"X_Error_Code": code, "X_Error_Message": message, "X_Repo_Commit": commit}
        self._answer({"error": message}, status, **{name: value for name, value in headers.items() if value})


def _mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".npz", ".png")) else "regular"


@contextmanager
def hub_of(folder: Path, token: str | None = TOKEN) -> Iterator[HubServer]:
    """A Hub that the client of this process speaks to, with a cache and a login of its own.

    Args:
        folder: For the client's cache and its token.
        token: What `hf auth login` has stored; None: nobody is logged in.
    """
    from huggingface_hub import constants

    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    login = folder / "token"
    folder.mkdir(parents=True, exist_ok=True)
    if token is not None:
        login.write_text(token)
    patches: dict[str, Any] = {
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_TOKEN_PATH": str(login),
        "HF_HUB_DISABLE_XET": True,
    }
    variables = {
        "HF_ENDPOINT": server.endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "XDG_CACHE_HOME": str(folder / "own"),
    }
    try:
        with patch.multiple(constants, **patches), patch.dict("os.environ", variables):
            yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
