"""A Weights & Biases server on loopback, as far as the real client needs one: it answers, and remembers."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VIEWER = {"id": "V", "entity": "me", "username": "me", "teams": {"edges": []}, "apiKeys": {"edges": []}}
PROJECT = {"id": "P", "name": "rope-mt", "entity": {"id": "E", "name": "me"}}
ARTIFACT = {"state": "PENDING", "digest": "D", "artifactSequence": {"id": "S", "latestArtifact": None}}

COMMITTED = {"state": "COMMITTED", "digest": "D", "versionIndex": 0, "createdAt": "2026-01-01T00:00:00Z"}


class WandbServer(ThreadingHTTPServer):
    """Use as `with WandbServer() as server:`; `server.url` is what WANDB_BASE_URL wants."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refuse = ""  # the GraphQL operation to answer with 403
        self.alive, self.silent = True, False
        self.heard: list[str] = []  # every address asked for
        self.upserts: list[dict[str, Any]] = []  # variables of UpsertBucket: name, groupName, config, ...
        self.rows: dict[str, list[dict[str, Any]]] = {}  # run id -> logged rows
        self.config: dict[str, dict[str, Any]] = {}  # run id -> its configuration
        self.summary: dict[str, dict[str, Any]] = {}  # run id -> its last summary
        self.exit_codes: dict[str, int] = {}  # run id -> how it ended
        self.artifacts: list[dict[str, Any]] = []  # run, name, type, and files: name -> what was put there
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def fall_silent(self) -> None:
        """From now on take every request and answer none."""
        self.silent = True

    def die(self) -> None:
        """Stop answering, on connections that are open as well."""
        if self.alive:
            self.alive = False
            self.shutdown()
            self.server_close()

    def __exit__(self, *_: object) -> None:
        self.die()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the client drops connections that it no longer needs."""

    def graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        if "query Viewer" in query:
            return {"viewer": VIEWER}
        if "query RunResumeStatus" in query:
            return {"model": {"bucket": self._resumed(given["name"])}}
        if "mutation UpsertBucket" in query:
            self.upserts.append(given)
            if given.get("config"):
                self.config[given["name"]] = json.loads(given["config"])
            names = {"id": given["name"], "name": given["name"], "displayName": given.get("displayName")}
            return {"upsertBucket": {"bucket": names | {"project": PROJECT}, "inserted": True}}
        if "mutation CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if "query ArtifactType" in query:
            return {"project": {"artifact": None}}
        if "mutation CreateArtifactManifest" in query:
            return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": self._file("manifest.json")}}}
        if "mutation CreateArtifactFiles" in query:
            files = [self._file(spec["name"], spec["artifactID"]) for spec in given["input"]["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}
        if "mutation CreateArtifact" in query:
            about = {"run": "runName", "name": "artifactCollectionName", "type": "artifactTypeName"}
            artifact = {name: given["input"][theirs] for name, theirs in about.items()}
            self.artifacts.append({**artifact, "files": {}})
            return {"createArtifact": {"artifact": ARTIFACT | {"id": str(len(self.artifacts) - 1)}}}
        if "query ArtifactByID" in query:
            artifact = self.artifacts[int(given["id"])]
            about = {"artifactSequence": {"id": "S", "project": PROJECT}, "artifactType": {"name": artifact["type"]}}
            return {"artifact": COMMITTED | about | {"id": given["id"]}}
        if "mutation CommitArtifact" in query:
            return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "D"}}}
        return {}  # the answers to all other questions are optional

    def _resumed(self, run: str) -> dict[str, Any] | None:
        """The state from which a run goes on; None for a new one."""
        rows = self.rows.get(run, [])
        bucket = {"name": run, "wandbConfig": '{"t": 1}', "config": json.dumps(self.config.get(run, {}))}
        bucket["summaryMetrics"] = json.dumps(self.summary.get(run, {}))
        bucket["historyTail"] = json.dumps([json.dumps(row) for row in rows[-1:]])
        lines = {"historyLineCount": len(rows), "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
        return bucket | lines if rows else None

    def _file(self, name: str, artifact: str = "") -> dict[str, Any]:
        url = f"{self.url}/artifact/{artifact}/{name}" if artifact else f"{self.url}/put/{name}"
        names = dict.fromkeys(("id", "name", "displayName", "storagePath"), name)
        return names | {"uploadUrl": url, "uploadHeaders": [], "artifact": {"id": artifact}}

    def table(self, run: str, key: str) -> dict[str, Any]:
        """The table that a run logged last under this key."""
        name = f"{key}.table.json"
        tables = [kept["files"][name] for kept in self.artifacts if kept["run"] == run and name in kept["files"]]
        return json.loads(tables[-1])

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        files = sent.get("files", {})
        self.rows.setdefault(run, []).extend(map(json.loads, files.get("wandb-history.jsonl", {}).get("content", [])))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary[run] = json.loads(line)
        if sent.get("complete"):
            self.exit_codes[run] = sent["exitcode"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body, status, answer = self._body(), 200, {}
        if self.path == "/graphql":
            asked = json.loads(body)
            if self.server.refuse and self.server.refuse in asked["query"]:
                status, answer = 403, {"errors": [{"message": f"no {self.server.refuse} for you"}]}
            else:
                answer = {"data": self.server.graphql(asked["query"], asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[-2], json.loads(body))
        self._answer(status, json.dumps(answer).encode())

    def do_PUT(self) -> None:
        body = self._body()
        if self.path.startswith("/artifact/"):
            number, name = self.path.removeprefix("/artifact/").split("/", 1)
            self.server.artifacts[int(number)]["files"][name] = body
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._body()
        self._answer(404, b"")

    def _body(self) -> bytes:
        self.server.heard.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, status: int, body: bytes) -> None:
        if self.server.silent:
            threading.Event().wait()
        if not self.server.alive:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""
