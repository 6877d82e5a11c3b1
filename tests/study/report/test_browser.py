"""A report in headless Chromium: what it shows on a phone, and that no request leaves it."""

import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from .conftest import Page

FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",  # the measuring page looks into the frames
    "--proxy-bypass-list=<-loopback>",  # the proxy gets requests to this machine too
    "--virtual-time-budget=5000",  # ms until the page is printed
    "--dump-dom",
)
# Shows each page in a frame as wide as a phone, and prints what it measures there.
MEASURE = """<!DOCTYPE html><meta charset="utf-8"><body>FRAMES<pre></pre><script>
window.onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  const tables = [...page.querySelectorAll("table")];
  document.querySelector("pre").textContent = JSON.stringify({
    tables: tables.map(table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))),
    width: page.documentElement.scrollWidth,
    text: Math.min(...[...page.querySelectorAll("figure text")].map(text => text.getBoundingClientRect().height)),
  });
};
</script>"""


@pytest.fixture
def proxy():
    """A port where every request over the network ends, and the list of the addresses that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_CONNECT = do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium, as Debian's package of that name")
def test_a_browser_shows_it_on_a_phone_and_asks_the_network_for_nothing(proxy, written, page, tmp_path):
    port, asked = proxy
    html = written[0].read_text(encoding="utf-8")
    pages = {"report": html}
    for name in ("guarded", "broken"):  # an image from the network; broken has no policy that forbids it
        pages[name] = html.replace("<h1>", f'<img src="http://127.0.0.1:{port}/{name}"><h1>')
    pages["broken"] = re.sub("<meta http-equiv.*>", "", pages["broken"])
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    frames = "".join(f'<iframe src="{name}.html" width="360" height="800" frameborder="0"></iframe>' for name in pages)
    (tmp_path / "measure.html").write_text(MEASURE.replace("FRAMES", frames), encoding="utf-8")
    flags = [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--proxy-server=http://127.0.0.1:{port}"]
    command = ["chromium", *flags, (tmp_path / "measure.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    measured = json.loads(Page(done.stdout).text["pre"][-1])
    assert measured["tables"] == [*page.tables.values()]
    assert measured["width"] <= 360  # wide tables scroll by themselves
    assert measured["text"] >= 10  # CSS pixels
    assert [url for url in asked if "127.0.0.1" in url] == [f"http://127.0.0.1:{port}/broken"]
