"""Batches of training pairs. An epoch is a pure function of (seed, epoch), so a run resumes where it stopped."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rope_mt.config import DataConfig
from rope_mt.data import text
from rope_mt.data.corpus import Corpus, Prepared
from rope_mt.data.tokenizer import BOS, PAD, Tokenizer
from rope_mt.errors import UserError

NOISE = 2.0  # tokens; the length by which an epoch sorts pairs is off by up to this much


class Batch(NamedTuple):
    """Padded pairs, and where the target's real tokens are, so that nothing is computed for padding."""

    src: Int[Tensor, "batch src"]
    tgt_in: Int[Tensor, "batch tgt"]  # bos and the tokens but the last
    tgt_out: Int[Tensor, " tokens"]  # the real tokens, eos among them, row after row
    where: Int[Tensor, " tokens"]  # their places in (batch * tgt)

    @property
    def n_tokens(self) -> int:
        """Real target tokens: known from the shape, without asking the device."""
        return len(self.tgt_out)


class Sentences:
    """One side of a corpus: the ids of all sentences end to end, and where each begins."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        self.ids, self.offsets = ids, offsets
        self.lengths = np.diff(offsets)

    @classmethod
    def of(cls, encoded: list[np.ndarray]) -> "Sentences":
        return cls(np.concatenate(encoded), np.cumsum([0, *(len(ids) for ids in encoded)]))

    def padded(self, rows: np.ndarray) -> Int[np.ndarray, "batch longest"]:
        """The sentences of these rows, one below the other, PAD to the right of the shorter ones."""
        lengths = self.lengths[rows]
        out = np.full((len(rows), int(lengths.max())), PAD, dtype=np.int64)
        inside = np.arange(out.shape[1]) < lengths[:, None]
        out[inside] = self.ids[(self.offsets[rows, None] + np.arange(out.shape[1]))[inside]]
        return out


class PairDataset(Dataset[Batch]):
    """Batches by their rows: `dataset[[3, 1, 4]]` is one batch of three pairs."""

    def __init__(self, src: Sentences, tgt: Sentences) -> None:
        self.src, self.tgt = src, tgt

    def __getitem__(self, rows: np.ndarray) -> Batch:
        src, tgt = self.src.padded(rows), self.tgt.padded(rows)
        real = tgt != PAD
        tgt_in = np.concatenate((np.full((len(rows), 1), BOS), tgt[:, :-1]), axis=1)
        arrays = (src, tgt_in, tgt[real], np.flatnonzero(real))
        return Batch(*(torch.from_numpy(array) for array in arrays))


def cut(src: np.ndarray, tgt: np.ndarray, order: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Cut rows in this order into batches of at most `batch_tokens` slots: (longest src + longest tgt) x pairs."""
    batches, start = [], 0
    while start < len(order):
        first = order[start]
        most = batch_tokens // int(src[first] + tgt[first])
        rows = order[start : start + most]
        longest = np.maximum.accumulate(src[rows]) + np.maximum.accumulate(tgt[rows])
        fits = int(np.searchsorted(longest * np.arange(1, len(rows) + 1), batch_tokens, side="right"))
        batches.append(rows[:fits])
        start += fits
    return batches


class EpochPlan(Sampler[np.ndarray]):
    """The batches of one epoch: pairs of similar length together, with other neighbours every time."""

    def __init__(self, src: np.ndarray, tgt: np.ndarray, cfg: DataConfig, seed: int) -> None:
        self.src, self.tgt, self.seed, self.batch_tokens = src, tgt, seed, cfg.batch_tokens
        self.rows = np.flatnonzero((src <= cfg.max_len + 1) & (tgt <= cfg.max_len + 1))  # eos comes on top
        self.epoch, self.start = 0, 0
        self._planned: tuple[int, list[np.ndarray]] | None = None

    def batches(self) -> list[np.ndarray]:
        """All batches of the epoch, a pure function of (seed, epoch)."""
        if self._planned is None or self._planned[0] != self.epoch:
            random = np.random.default_rng((self.seed, self.epoch))
            rows = random.permutation(self.rows)
            # a little noise, or sentences would meet only those of exactly their length
            tgt, src = (side[rows] + random.uniform(0, NOISE, len(rows)) for side in (self.tgt, self.src))
            order = rows[np.lexsort((src, np.floor(tgt)))]
            batches = cut(self.src, self.tgt, order, self.batch_tokens)
            self._planned = self.epoch, [batches[i] for i in random.permutation(len(batches))]
        return self._planned[1]

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches()[self.start :])


class ResumableLoader(DataLoader[Batch]):
    """A loader whose state is (epoch, batches drawn): after `load_state_dict` it goes on with the very next batch.

    Lightning saves and restores this state with a checkpoint. It needs the length of the epoch, or it would draw one
    batch ahead of what has been trained on.
    """

    def __init__(self, dataset: PairDataset, plan: EpochPlan, workers: int) -> None:
        super().__init__(
            dataset, sampler=plan, batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available()
        )
        self.plan, self.drawn = plan, 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]: torch's is private
        # rolled over here and not after the last batch, since Lightning never asks for a batch beyond the length
        if self.drawn >= len(self.plan):
            self.plan.epoch += 1
            self.drawn = 0
        self.plan.start = self.drawn
        for batch in super().__iter__():
            self.drawn += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.plan.epoch, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plan.epoch, self.drawn = state["epoch"], state["drawn"]


class TranslationData(L.LightningDataModule):
    """The training pairs that `prepare` wrote, and the validation set, as batches of token ids."""

    def __init__(self, cfg: DataConfig, prepared: Prepared, corpus: Corpus, seed: int) -> None:
        super().__init__()
        self.cfg, self.seed = cfg, seed
        self.tokenizer: Tokenizer = prepared.tokenizer()
        self.pairs = PairDataset(Sentences(*prepared.side("src")), Sentences(*prepared.side("tgt")))
        self.valid_src, self.valid_ref = text.read_test_set(corpus.valid)
        self.plan = EpochPlan(self.pairs.src.lengths, self.pairs.tgt.lengths, cfg, seed)
        if not len(self.plan.rows):
            raise UserError(f"no training pair has at most {cfg.max_len} tokens a side: raise data.max_len")

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(self.pairs, self.plan, self.cfg.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        encode = self.tokenizer.encode
        sides = ([text.normalize(line) for line in lines] for lines in (self.valid_src, self.valid_ref))
        pairs = PairDataset(*(Sentences.of(encode(lines)) for lines in sides))
        src, tgt = pairs.src.lengths, pairs.tgt.lengths
        budget = max(self.cfg.batch_tokens, int((src + tgt).max()))  # a long sentence still counts
        return DataLoader(pairs, sampler=cut(src, tgt, np.lexsort((src, tgt)), budget), batch_size=None)
