"""A hub for tests: the cache of the real client, laid out as the client does, and a small server that it can ask.

Repositories are folders of tiny real models; nothing of the client is replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

#: Suffixes that repositories keep as large files, known by the SHA-256 of their content.
LARGE = (".safetensors", ".bin")


def git_hash(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(name: str, content: bytes) -> str:
    """The name of a file's content in the cache."""
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_hash(content)


def commit_of(repository: str, files: Mapping[str, bytes]) -> str:
    """A commit hash that depends on the content of a revision and on nothing else."""
    parts = [f"{name} {git_hash(content)}" for name, content in sorted(files.items())]
    return hashlib.sha1("\n".join([repository, *parts]).encode()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


def tree_entry(name: str, content: bytes) -> dict[str, Any]:
    """What the client writes down of a file in its listing of a commit."""
    large = {"lfs_sha256": etag(name, content), "lfs_size": len(content)} if name.endswith(LARGE) else {}
    return {"size": len(content), "blob_id": git_hash(content), **large}


def cache_revision(
    cache: Path,
    repository: str,
    revision: str,
    files: Mapping[str, bytes],
    *,
    only: Callable[[str], bool] = lambda _: True,
) -> Path:
    """Put a revision into a cache as a download of the files that `only` admits would; returns its snapshot."""
    storage = cache / f"models--{repository.replace('/', '--')}"
    commit = commit_of(repository, files)
    snapshot = storage / "snapshots" / commit
    for folder in (storage / "blobs", snapshot, (storage / "refs" / revision).parent, storage / "trees"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if only(name):
            blob = storage / "blobs" / etag(name, content)
            blob.write_bytes(content)
            (snapshot / name).unlink(missing_ok=True)
            (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    (storage / "refs" / revision).write_text(commit)
    listing = {"format_version": 1, "files": {name: tree_entry(name, content) for name, content in files.items()}}
    (storage / "trees" / f"{commit}.json").write_text(json.dumps(listing))
    return snapshot


@contextmanager
def client_at(cache: Path, *, endpoint: str | None = None) -> Iterator[None]:
    """The client works on this cache meanwhile: offline, or asking a server in the hub's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", endpoint is None)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        if endpoint is not None:
            patch.setattr(constants, "ENDPOINT", endpoint)
            patch.setattr(
                constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
            )
        yield


@dataclass
class Hub:
    """Repositories by name, each with its revisions and their files, and what was asked for.

    failures: status codes that the next questions get instead of answers. cut: at how many bytes the next download of
    a large file breaks off.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    cut: int | None = None
    asked: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def add(self, repository: str, revision: str, folder: Path | Mapping[str, bytes]) -> dict[str, bytes]:
        """Add a revision with the files of a folder."""
        files = contents(folder) if isinstance(folder, Path) else dict(folder)
        self.repositories.setdefault(repository, {})[revision] = files
        return files

    def files_at(self, repository: str, revision: str) -> dict[str, bytes] | None:
        """The files of a branch or a commit."""
        revisions = self.repositories.get(repository, {})
        by_commit = {commit_of(repository, files): files for files in revisions.values()}
        return revisions.get(revision) or by_commit.get(revision)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Answer as the hub does, at the address that is given."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} {path}")
            if hub.failures:
                self._say(hub.failures.pop(0), {})
            elif path.startswith("api/models/"):
                _, _, owner, name, what, *rest = path.split("/")
                self._describe(f"{owner}/{name}", what, "/".join(rest))
            elif "/resolve/" in path:
                owner, name, _, revision, file = path.split("/")
                self._file(f"{owner}/{name}", revision, file)
            else:  # what the client asks of itself, such as what it runs in
                self._say(404, {})

        def _describe(self, repository: str, what: str, revision: str) -> None:
            if repository not in hub.repositories:
                self._say(404, {}, {"X-Error-Code": "RepoNotFound"})
            elif what == "refs":
                branches = [
                    {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit_of(repository, files)}
                    for name, files in hub.repositories[repository].items()
                ]
                self._say(200, {"branches": branches, "converts": [], "tags": []})
            elif (files := hub.files_at(repository, revision)) is None:
                self._say(404, {}, {"X-Error-Code": "RevisionNotFound"})
            elif what == "revision":
                siblings = [{"rfilename": name} for name in files]
                self._say(200, {"id": repository, "sha": commit_of(repository, files), "siblings": siblings})
            else:
                self._say(200, [_listed(name, content) for name, content in files.items()])

        def _file(self, repository: str, revision: str, name: str) -> None:
            files = hub.files_at(repository, revision) or {}
            if name not in files:
                self._say(404, {}, {"X-Error-Code": "EntryNotFound"})
                return
            content = files[name]
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{etag(name, content)}"')
            self.send_header("X-Repo-Commit", commit_of(repository, files))
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self._send(name, body)

        def _send(self, name: str, body: bytes) -> None:
            if hub.cut is not None and name.endswith(LARGE):
                body, hub.cut = body[: hub.cut], None
                self.close_connection = True
            self.wfile.write(body)
            hub.sent[name] = hub.sent.get(name, 0) + len(body)

        def _say(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return Handler


def _listed(name: str, content: bytes) -> dict[str, Any]:
    large = (
        {"lfs": {"oid": etag(name, content), "size": len(content), "pointerSize": 134}} if name.endswith(LARGE) else {}
    )
    return {"type": "file", "path": name, "size": len(content), "oid": git_hash(content), **large}
