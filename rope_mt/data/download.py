"""A file from the web, whole and verified: a cut connection is gone on with, what is wrong is thrown away."""

import hashlib
import http.client
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rope_mt import __version__
from rope_mt.errors import UserError
from rope_mt.system import disk
from rope_mt.system.files import append
from rope_mt.system.locks import only_one
from rope_mt.system.progress import progress

TRIES = 3  # in a row that bring nothing new
PAUSE = 2.0  # seconds before the next try
BLOCK = 1 << 20
CUT = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)


def download(address: str, target: Path, size: int | None = None, check: str = "") -> None:
    """Fetch a file, and give it its name only when it is all there and verified.

    Until then it is `NAME.part`. With a check sum a part that an earlier try left is gone on with; without one nobody
    could tell whether the file has changed since.

    Args:
        size: in bytes, where it is known.
        check: sha256:HEX or md5:HEX, or nothing where nobody knows it.

    Raises:
        UserError: it cannot be had, or is not what was expected.
    """
    with only_one(target.parent):
        if target.is_file():  # by the one that was waited for
            return
        part = target.with_name(f"{target.name}.part")
        if not check:
            part.unlink(missing_ok=True)
        print(f"fetching {address}", file=sys.stderr, flush=True)
        tries = TRIES
        while tries:
            before = _length(part)
            try:
                _receive(address, part, size)
                break
            except urllib.error.HTTPError as error:
                if error.code < 500:  # the server is there and says no
                    raise _cannot(address, target, error) from error
                reason = error
            except CUT as error:
                reason = error
            except UserError:
                if not check:
                    part.unlink(missing_ok=True)
                raise
            tries = TRIES if _length(part) > before else tries - 1
            if not tries:
                if not check:
                    part.unlink(missing_ok=True)
                raise _cannot(address, target, reason) from reason
            print(f"no answer, or not all of it ({reason}); trying again", file=sys.stderr, flush=True)
            time.sleep(PAUSE)
        try:
            verify(part, size, check, address)
        except UserError:
            part.unlink()
            raise
        os.replace(part, target)


def _cannot(address: str, target: Path, error: Exception) -> UserError:
    if _length(target.with_name(f"{target.name}.part")):
        return UserError(f"cannot fetch all of {address} ({error}): the same command goes on where it was cut")
    return UserError(f"cannot fetch {address} ({error}): put {target.name} into {target.parent}, or give data.mirror")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(address: str, part: Path, size: int | None) -> None:
    """Append to `part` what is missing of it, or all of it where the server knows no ranges."""
    start = _length(part)
    if size is not None and start >= size:
        return  # all there; what is too much shows when it is verified
    headers = {"User-Agent": f"rope-mt/{__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # there is no more: verifying tells whether that is right
        raise
    with answer:
        if start and _first_byte(answer) != start:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else size
        if size is not None and total != size:
            part.unlink(missing_ok=True)
            raise UserError(f"{address} has {total:,} bytes, not {size:,}: it is not the file that was meant")
        name, needs = part.name.removesuffix(".part"), (total or start) - start
        free = disk.free(part.parent)
        if needs > free:
            amounts = f"{disk.size_text(needs)} of disk, and {disk.size_text(free)} are free in {part.parent}"
            raise UserError(f"{name} takes {amounts}: make room, or choose another disk with data.dir=FOLDER")
        if not start:
            part.unlink(missing_ok=True)
        came = append(part, b"")
        with progress(name, total, "MB", start, scale=1e6) as advance:
            while block := answer.read(BLOCK):
                came = append(part, block, needs=(total or came) - came)
                advance(len(block))
        if total is not None and came < total:
            raise ConnectionError(f"{came:,} of {total:,} bytes came")


def _first_byte(answer: Any) -> int:
    """Where what a server sends begins: 0 when it has ignored the range."""
    span = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(span[1]) if answer.status == http.HTTPStatus.PARTIAL_CONTENT and span else 0


def verify(path: Path, size: int | None, check: str, name: str) -> None:
    """Compare a file with what is known of it.

    Raises:
        UserError: the size or the check sum is another one.
    """
    if size is not None and path.stat().st_size != size:
        raise UserError(f"{name} has {path.stat().st_size:,} bytes, not {size:,}: it is not the file that was meant")
    if check:
        algorithm, _, expected = check.partition(":")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            raise UserError(f"{name} has the {algorithm} {found}, not {expected}: it is not the file that was meant")
