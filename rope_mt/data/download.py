"""Fetch a file from the web, whole and verified. A connection that is cut is resumed."""

import hashlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from rope_mt import __version__
from rope_mt.errors import UserError
from rope_mt.system.files import append
from rope_mt.system.locks import only_one
from rope_mt.system.progress import progress

TRIES = 3  # in a row that bring nothing new
PAUSE = 2.0  # seconds before the next try
BLOCK = 1 << 20
# a ValueError: of an address that is none, or has letters beyond ASCII
CUT = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError, ValueError)
WRONG = "it is not the file that was meant"


def download(address: str, target: Path, size: int | None = None, check: str = "", remedy: str = "") -> None:
    """Fetch a file. It is called `NAME.part` until it is complete and verified.

    With a checksum, a part that an earlier command left is resumed. Without one, nobody could tell whether the file on
    the server is still the same.

    Args:
        size: in bytes, if it is known.
        check: sha256:HEX or md5:HEX, if it is known.
        remedy: what a user does when it cannot be fetched; "": put the file into the folder, or name a mirror.

    Raises:
        UserError: the file cannot be fetched, or is not the one that was meant.
    """
    with only_one(target.parent):
        if target.is_file():  # fetched by another process, for which this one has waited
            return
        part = target.with_name(f"{target.name}.part")
        if not check:
            part.unlink(missing_ok=True)
        print(f"fetching {address}", file=sys.stderr, flush=True)
        try:
            _fetch(address, part, size)
        except CUT as error:
            remedy = remedy or f"put {target.name} into {target.parent}, or give data.mirror"
            if check and _length(part):
                remedy = "the same command continues where it was cut"
            raise UserError(f"cannot fetch {address} ({error}): {remedy}") from error
        try:
            verify(part, size, check, address)
        except UserError:
            part.unlink()
            raise
        os.replace(part, target)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _fetch(address: str, part: Path, size: int | None) -> None:
    """Try until the file is complete, or TRIES tries in a row brought nothing; raises one of CUT then."""
    tries = TRIES
    while True:
        before = _length(part)
        try:
            return _receive(address, part, size)
        except CUT as error:
            refused = isinstance(error, ValueError) or (isinstance(error, urllib.error.HTTPError) and error.code < 500)
            tries = TRIES if _length(part) > before else tries - 1
            if refused or not tries:
                raise
            print(f"no answer, or not all of it ({error}); trying again", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


def _receive(address: str, part: Path, size: int | None) -> None:
    """Append the missing bytes to `part`, or fetch all of it anew from a server that ignores ranges."""
    start = _length(part)
    if size is not None and start >= size:
        return  # complete; `verify` notices a part that is too long
    headers = {"User-Agent": f"rope-mt/{__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # the server has no more bytes; `verify` tells whether that is right
        raise
    with answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
            part.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else size
        received = append(part, b"")
        with progress(part.stem, total, "MB", start, scale=1e6) as advance:
            while block := answer.read(BLOCK):
                received = append(part, block, needs=(total or received) - received)
                advance(len(block))
        if total is not None and received < total:
            raise ConnectionError(f"{received:,} of {total:,} bytes came")


def verify(path: Path, size: int | None, check: str, name: str) -> None:
    """Compare a file with its known size and checksum.

    Raises:
        UserError: one of them differs.
    """
    actual_size = path.stat().st_size
    if size is not None and actual_size != size:
        raise UserError(f"{name} has {actual_size:,} bytes, not {size:,}: {WRONG}")
    if check:
        algorithm, _, expected = check.partition(":")
        with open(path, "rb") as file:
            actual = hashlib.file_digest(file, algorithm).hexdigest()
        if actual != expected:
            raise UserError(f"{name} has the {algorithm} {actual}, not {expected}: {WRONG}")
