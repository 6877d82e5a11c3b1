"""A report in headless Chromium: what it shows on a phone, and that no request leaves it."""

import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0  # seconds


@contextmanager
def proxy() -> Iterator[tuple[int, list[str]]]:
    """A port where every request ends that a browser makes over the network, and what was asked for there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            with suppress(ConnectionError):  # a browser that ends does not wait
                self.send_error(404)

        do_CONNECT = do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Browser:
    """One tab, spoken to in the DevTools protocol over two pipes.

    Attributes:
        events: what the browser told about the page that is open, in order.
    """

    def __init__(self, program: str, profile: Path, port: int) -> None:
        read, theirs_out = os.pipe()
        theirs_in, write = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--proxy-server=http://127.0.0.1:{port}"]
        flags.append("--proxy-bypass-list=<-loopback>")  # not even for this machine itself
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", program, *flags]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stdout=quiet, stderr=quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self.read, self.write = read, write
        self.buffer, self.session, self.calls = b"", "", 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.calls:
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], PATIENCE)[0]:
                raise TimeoutError("Chromium does not answer")
            self.buffer += os.read(self.read, 1 << 16) or b'{"id": -1}\0'
        message, _, self.buffer = self.buffer.partition(b"\0")
        told = json.loads(message)
        if told.get("id") == -1:
            raise ConnectionError("Chromium has ended")
        self.events.append(told)
        return told

    def open(self, page: Path, width: int) -> None:
        """Show a page as wide as so many CSS pixels, until nothing more happens in it."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=True)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(told.get("method") == "Page.loadEventFired" for told in self.events):
            self._next()
        self.run("new Promise(done => setTimeout(done, 300))")

    def run(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    def requests(self) -> list[str]:
        return [told["params"]["request"]["url"] for told in self._told("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        said = [told["params"]["entry"]["text"] for told in self._told("Log.entryAdded")]
        thrown = self._told("Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return said + [str(told["params"]) for told in thrown]

    def _told(self, *methods: str) -> list[dict[str, Any]]:
        return [told for told in self.events if told.get("method") in methods]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def asked(tmp_path) -> Iterator[tuple[Browser, int, list[str]]]:
    """A browser, and the port where its requests end, and what was asked for there."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium, as Debian's package of that name")
    with proxy() as (port, requests):
        browser = Browser(program, tmp_path / "profile", port)
        try:
            yield browser, port, requests
        finally:
            browser.close()


def test_a_browser_shows_it_on_a_phone_and_asks_the_network_for_nothing(asked, written, page, tmp_path):
    browser, port, requests = asked
    path, _ = written
    browser.open(path, width=360)
    cells = "t => [...t.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    assert browser.run(f"[...document.querySelectorAll('table')].map({cells})") == [*page.tables.values()]
    assert browser.run("document.documentElement.scrollWidth") <= 360  # wide tables scroll by themselves
    texts = "Math.min(...[...document.querySelectorAll('figure text')].map(t => t.getBoundingClientRect().height))"
    assert browser.run(texts) >= 10  # CSS pixels
    assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]
    assert browser.complaints() == []
    assert not [url for url in requests if str(port) in url]

    html = path.read_text(encoding="utf-8")
    image = f'<img src="http://127.0.0.1:{port}/seen">'
    broken, guarded = tmp_path / "broken.html", tmp_path / "guarded.html"
    broken.write_text(re.sub("<meta http-equiv.*>", "", html).replace("<h1>", f"{image}<h1>"), encoding="utf-8")
    guarded.write_text(html.replace("<h1>", f"{image}<h1>"), encoding="utf-8")
    browser.open(guarded, width=360)
    assert "violates" in " ".join(browser.complaints())
    assert not [url for url in requests if "seen" in url]
    browser.open(broken, width=360)
    assert [url for url in browser.requests() if url.endswith("/seen")]
    assert [url for url in requests if url.endswith("/seen")]
