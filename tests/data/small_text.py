"""A small corpus on disk, and what was made of it: shared by the tests of prepare."""

import gzip
import io
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rope_mt.data.prepare import Prepared
from rope_mt.data.tokenizer import train_tokenizer

ENGLISH = [f"The {n} old dogs see the {n + 1} cats ." for n in range(200)]
GERMAN = [f"Die {n} alten Hunde sehen die {n + 1} Katzen ." for n in range(200)]
MODEL = train_tokenizer([*ENGLISH, *GERMAN], 320)
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
SIDES = ("src", "tgt")


def write(prefix: Path, english: list[str], german: list[str], suffix: str = "") -> str:
    """Two files of lines; a broken one is written as a surrogate."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for lang, lines in (("en", english), ("de", german)):
        content = "".join(line + "\n" for line in lines).encode(errors="surrogateescape")
        Path(f"{prefix}.{lang}{suffix}").write_bytes(PACKERS[suffix](content))
    return str(prefix)


def documents(prefix: str, *marks: tuple[int, int], suffix: str = "") -> None:
    content = "".join(f"{first}\t{length}\tdocument\n" for first, length in marks)
    Path(f"{prefix}.docs{suffix}").write_bytes(PACKERS[suffix](content.encode()))


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=30)
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pairs(prepared: Prepared) -> list[tuple[str, str]]:
    """The text that the maps decode to."""
    sides = []
    for side in SIDES:
        ends = np.cumsum(prepared.map(f"{side}.lengths"), dtype=np.int64)
        ids = np.split(prepared.map(f"{side}.ids"), ends[:-1])
        sides.append(prepared.tokenizer().decode([sentence.tolist() for sentence in ids]))
    return list(zip(*sides, strict=True))


def starts(prepared: Prepared) -> list[int]:
    """The pairs that begin something."""
    return np.flatnonzero(prepared.map("begins")).tolist()
