"""A stand-in for statmt.org on the loopback address: archives laid out like its own, and the ways a server can fail."""

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from omegaconf import OmegaConf

from rope_mt.config.commands import PrepareConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.files import conf_dir
from rope_mt.data import corpus, toy
from rope_mt.errors import UserError

# ---- the server ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mood:
    """How the server treats a request; the default is well."""

    status: int = 0  # answer with this error and nothing else
    ranges: bool = True  # or ignore them
    cut: bool = False  # send no byte beyond the middle of the file, then hang up
    length: bool = True  # announce Content-Length
    hold: bool = False  # send the head, and the body when `gate` opens
    foreign: bool = False  # speak another protocol than HTTP


WELL = Mood()


@dataclass
class Asked:
    method: str
    path: str
    span: str  # the header Range


@dataclass
class Site:
    """The server for a test: the test puts files into `root`, sets moods, and reads the log."""

    root: Path
    address: str
    log: list[Asked] = field(default_factory=list)
    once: dict[str, list[Mood]] = field(default_factory=dict)  # path -> of the next requests
    always: dict[str, Mood] = field(default_factory=dict)  # path -> of all others
    gate: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, content: bytes) -> str:
        """Lay a file on the server and give its address."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)
        return f"{self.address}/{path}"

    def spans(self, path: str) -> list[str]:
        return [asked.span for asked in self.log if asked.path == path]


@contextmanager
def serve(root: Path) -> Iterator[Site]:
    """Serve a folder until the block ends; no thread and no socket outlives it."""
    root.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(self.path).lstrip("/")
            waiting = site.once.get(path)
            mood = waiting.pop(0) if waiting else site.always.get(path, WELL)
            asked = Asked(self.command, path, self.headers.get("Range", ""))
            site.log.append(asked)
            with suppress(ConnectionError):  # the client may have closed the connection
                self.answer(mood, asked)

        do_HEAD = do_GET  # noqa: N815

        def answer(self, mood: Mood, asked: Asked) -> None:
            file = root / asked.path
            if mood.foreign:
                self.wfile.write(b"220 this is no web server\r\n")
                return
            if mood.status or not file.is_file():
                self.send_error(mood.status or 404)
                return
            content = file.read_bytes()
            span = re.fullmatch(r"bytes=(\d+)-", asked.span) if mood.ranges else None
            start = int(span[1]) if span else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if span else 200)
            if mood.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if asked.method == "HEAD":
                return
            if mood.hold:
                site.gate.wait(20)
            self.wfile.write(content[start : len(content) // 2] if mood.cut else content[start:])

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # so that closing waits for them
        site = Site(root, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            site.gate.set()
            server.shutdown()
            thread.join()


# ---- WMT14 in little -------------------------------------------------------------------------------------------------

Sides = dict[str, list[str]]  # language -> its lines
TRAIN = ("europarl-v7", "commoncrawl", "news-commentary-v9")  # in the order of conf/data/wmt14.yaml
COUNTS = {**dict.fromkeys(TRAIN, 100), "newstest2013": 12, "newstest2014": 12}
EUROPARL = "wmt13/training-parallel-europarl-v7.tgz"
COMMON_CRAWL = "wmt13/training-parallel-commoncrawl.tgz"
NEWS_COMMENTARY = "wmt14/training-parallel-nc-v9.tgz"
DEV = "wmt19/translation-task/dev.tgz"
TEST = "wmt14/test-full.tgz"
ARCHIVES = sorted([COMMON_CRAWL, DEV, EUROPARL, NEWS_COMMENTARY, TEST])
NAMES = sorted(PurePosixPath(path).name for path in ARCHIVES)
TEXTS = [f"{name}.{lang}" for name in ("newstest2013", "newstest2014", "train") for lang in ("de", "en")]
FRENCH = b"Ce texte n'est pas de ceux qu'il faut.\n"


def texts() -> dict[str, Sides]:
    """The text in the archives: sentences of the toy grammar."""
    pairs = iter(toy.generate(n_train=sum(COUNTS.values()), n_valid=0, n_test=0).train)
    text: dict[str, Sides] = {}
    for name, count in COUNTS.items():
        some = [*islice(pairs, count)]
        text[name] = {"en": [en for en, _ in some], "de": [de for _, de in some]}
    return text


def plain(lines: Iterable[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def sgml(lines: Iterable[str], kind: str) -> bytes:
    """A test set as WMT wrote it until 2020."""
    segments = "".join(f'<seg id="{n}">{line}</seg>\n' for n, line in enumerate(lines, start=1))
    head = f'<{kind} setid="newstest2014" srclang="any">\n<doc sysid="ref" docid="1" genre="news" origlang="en">\n<p>\n'
    return f"{head}{segments}</p>\n</doc>\n</{kind}>\n".encode()


Member = tuple[str, bytes] | tarfile.TarInfo  # a file, or something else: a folder, a link


def packed(*members: Member, how: str = "gz") -> bytes:
    """A tar archive with these members, in this order and under exactly these names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{how}") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A folder or a link for `packed`."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def archives(text: dict[str, Sides]) -> dict[str, bytes]:
    """Path on statmt.org -> archive. Names, folders and neighbours of the members are as in the real ones."""
    folder = special("training", tarfile.DIRTYPE)

    def parallel(name: str, below: str) -> list[Member]:
        other = [(f"{below}{name}.fr-en.{lang}", FRENCH) for lang in ("fr", "en")]
        return [*other, *((f"{below}{name}.de-en.{lang}", plain(text[name][lang])) for lang in ("de", "en"))]

    dev, test = text["newstest2013"], text["newstest2014"]
    return {
        EUROPARL: packed(folder, *parallel("europarl-v7", "training/")),
        COMMON_CRAWL: packed(*parallel("commoncrawl", "./"), ("./commoncrawl.de-en.annotation", b"1\n")),
        NEWS_COMMENTARY: packed(folder, *parallel("news-commentary-v9", "training/")),
        DEV: packed(
            *((f"dev/newstest2012.{lang}", FRENCH) for lang in ("de", "en", "fr")),
            ("dev/newstest2013-src.de.sgm", sgml(dev["de"], "srcset")),
            *((f"dev/newstest2013.{lang}", plain(dev[lang])) for lang in ("de", "en")),
        ),
        TEST: packed(
            *(
                (f"test-full/newstest2014-deen-{side}.{lang}.sgm", sgml(test[lang], f"{side}set"))
                for side in ("ref", "src")
                for lang in ("de", "en")
            ),
            ("test-full/newstest2014-fren-ref.fr.sgm", FRENCH),
        ),
    }


def wmt14(site: Site, **settings: Any) -> Any:
    """conf/data/wmt14.yaml with the addresses, sizes and checksums of the server's files."""
    cfg = OmegaConf.load(conf_dir() / "data" / "wmt14.yaml")
    for archive in cfg.archives:
        path = urlsplit(archive.url).path.lstrip("/")
        content = (site.root / path).read_bytes()
        algorithm = archive.check.partition(":")[0]
        archive.url = f"{site.address}/{path}"
        archive.check = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
        if "size" in archive:
            archive.size = len(content)
    for parquet, names in zip(cfg.parquet, (TRAIN, ("newstest2013",), ("newstest2014",)), strict=True):
        parquet.pairs = sum(COUNTS[name] for name in names)
    cfg.update({"disk": 0.01, "vocab_size": 400, **settings})
    return cfg


def locate(cfg: Any, folder: Path) -> corpus.Corpus:
    """`corpus.locate` with its text below `folder`."""
    return corpus.locate(config(cfg, folder))


def config(cfg: Any, folder: Path) -> DataConfig:
    root = OmegaConf.merge(OmegaConf.structured(PrepareConfig), {"data": cfg}, {"data": {"dir": str(folder)}})
    return OmegaConf.to_object(root.data)  # pyright: ignore[reportReturnType]


def refused(cfg: Any, folder: Path, *words: str) -> None:
    """`locate` ends with one line that has these words."""
    with pytest.raises(UserError) as error:
        locate(cfg, folder)
    line = " ".join(str(error.value).split())  # as the command line prints it
    for word in words:
        assert word in line


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def has_no_text(folder: Path) -> bool:
    """Whether nothing is there that a later command would take for text or for a prepared corpus."""
    return all(PurePosixPath(name).parent == PurePosixPath("wmt14/archives") for name in files_below(folder))


def assert_text(folder: Path, text: dict[str, Sides]) -> None:
    """The text made is the text that was packed."""
    for lang in ("en", "de"):
        train = b"".join(plain(text[name][lang]) for name in TRAIN)
        assert (folder / f"wmt14/train.{lang}").read_bytes() == train
        for name in ("newstest2013", "newstest2014"):
            assert (folder / f"wmt14/{name}.{lang}").read_bytes() == plain(text[name][lang])
