"""A folder that `rope-mt prepare` has made, as training reads it: held to its check sums whenever it is opened."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.data.tokenizer import EOS, Tokenizer
from rope_mt.errors import UserError
from rope_mt.system.manifest import read_manifest, sha256

SIDES = ("src", "tgt")
MAPS = {"src.ids": np.uint16, "tgt.ids": np.uint16, "src.lengths": np.uint16, "tgt.lengths": np.uint16, "begins": bool}
DTYPES = {name: np.dtype(kind).name for name, kind in MAPS.items()}
COUNTS = ("read", "kept", "show_languages", "look_exchanged", "hold_nul", "byte_order_marks")  # in meta.json


@dataclass(frozen=True)
class Prepared:
    """The SentencePiece model, and of the kept pairs

    - `src.ids`, `tgt.ids`: their token ids end to end, without bos and eos,
    - `src.lengths`, `tgt.lengths`: how many ids each has,
    - `begins`: whether a document begins there, or something before it was dropped.
    """

    folder: Path
    meta: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, settings: Mapping[str, Any]) -> "Prepared":
        """The folder that was made with these settings, by what its meta.json says.

        Raises:
            UserError: that is damaged, or of other settings.
        """
        remedy = f"remove {folder} to make it again"
        meta = read_manifest(folder / "meta.json", remedy)
        dropped, tokens, sums = (
            found if isinstance(found := meta.get(name), dict) else {} for name in ("dropped", "tokens", "sha256")
        )
        sound = {name: meta.get(name) for name in settings} == settings and meta.get("dtypes") == DTYPES
        sound &= isinstance(meta.get("dropped"), dict)
        if not (
            sound
            and all(_is_count(n) for n in (*(meta.get(name) for name in COUNTS), *dropped.values()))
            and all(_is_count(tokens.get(side)) and 0 < meta["kept"] <= tokens[side] for side in SIDES)
            and all(isinstance(digest, str) for digest in (meta.get("tokenizer_sha256"), *(sums.get(n) for n in MAPS)))
        ):
            raise UserError(f"{folder / 'meta.json'} is not that of a prepared folder: {remedy}")
        return cls(folder, meta)

    def tokenizer(self) -> Tokenizer:
        """The model that the ids were made with.

        Raises:
            UserError: it is missing, or another one.
        """
        path = self.folder / "sentencepiece.model"
        try:
            model = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; remove {self.folder} to make it again") from error
        if hashlib.sha256(model).hexdigest() != self.meta["tokenizer_sha256"]:
            raise UserError(f"{path} is not the model of {self.folder}/meta.json; remove the folder to make it again")
        return Tokenizer(model)

    def map(self, name: str) -> np.ndarray:
        """One of the arrays above, read from disk as it is needed, after all of it has been looked through once.

        Raises:
            UserError: it is not what was written, or nothing to train on.
        """
        path, kind = self.folder / name, np.dtype(MAPS[name])
        of_side = self.meta["tokens"].get(name[:3])
        entries = of_side if name.endswith(".ids") else self.meta["kept"]
        try:
            sound = path.stat().st_size == entries * kind.itemsize and sha256(path) == self.meta["sha256"][name]
        except OSError:
            sound = False
        if sound:
            found = np.memmap(path, dtype=kind, mode="r")
            if name.endswith(".ids"):
                sound = found.min() > EOS and found.max() < self.meta["vocab_size"]
            else:
                sound = found.sum(dtype=np.int64) == of_side if of_side is not None else found.view(np.uint8).max() <= 1
            if sound:
                return found
        raise UserError(f"{path} is damaged: remove {self.folder} to make it again")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 48
