"""A folder that `rope-mt prepare` has made, as training reads it: checksums are compared when it is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rope_mt.data.tokenizer import Tokenizer
from rope_mt.errors import UserError
from rope_mt.system.manifest import read_manifest

SIDES = ("src", "tgt")
MAPS = {"src.ids": np.uint16, "tgt.ids": np.uint16, "src.lengths": np.uint16, "tgt.lengths": np.uint16, "begins": bool}
MODEL, META = "sentencepiece.model", "meta.json"


@dataclass(frozen=True)
class Prepared:
    """The SentencePiece model, and of the kept pairs

    - `src.ids`, `tgt.ids`: their token ids end to end, without bos and eos,
    - `src.lengths`, `tgt.lengths`: how many ids each has,
    - `begins`: whether a document begins there, or the pair before it was dropped.
    """

    folder: Path
    meta: dict[str, Any]  # the settings, counts and checksums of meta.json

    @classmethod
    def read(cls, folder: Path) -> "Prepared":
        """Open a folder.

        Raises:
            UserError: a file is missing or was changed.
        """
        remedy = f"remove {folder} to make it again"
        for name in (*MAPS, MODEL):
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is missing: {remedy}")
        return cls(folder, read_manifest(folder / META, remedy, *MAPS, MODEL))

    def tokenizer(self) -> Tokenizer:
        """The model that the ids were made with."""
        return Tokenizer((self.folder / MODEL).read_bytes())

    def map(self, name: str) -> np.ndarray:
        """One of the arrays above; pages are read from disk when they are needed."""
        return np.memmap(self.folder / name, dtype=MAPS[name], mode="r")
