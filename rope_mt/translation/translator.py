"""Text in, text out: a trained Transformer, its tokenizer and a search."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rope_mt.config.commands import EvalConfig, TranslateConfig
from rope_mt.config.position import PositionsConfig, RopeConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, PAD, Tokenizer, read
from rope_mt.errors import UserError
from rope_mt.model.drawn_positions import drawn
from rope_mt.model.search import LENGTH_PENALTIES, Hypothesis, beam_search
from rope_mt.model.transformer import DecoderState, Transformer
from rope_mt.runs.checkpoint import Checkpoint, model_of
from rope_mt.system.device import choose_device, choose_precision, computing_in
from rope_mt.system.memory import short_of_memory
from rope_mt.system.progress import progress
from rope_mt.translation.scoring import Scores, score

SLOTS_OF_A_THREAD = 4_096  # with fewer, threads wait for each other's Python more than they compute

FORCED = 32  # references whose loss is computed at once

A = TypeVar("A")
B = TypeVar("B")


class Translator:
    """Translates sentences in batches of similar length, and returns them in their order; the model is in eval mode."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        search: SearchConfig,
        precision: str,
        positions: PositionsConfig | None = None,
    ) -> None:
        self.model, self.tokenizer, self.search, self.precision = model, tokenizer, search, precision
        self.positions = positions if positions is not None and positions.eval == "random" else None

    @classmethod
    def of(cls, ckpt: Checkpoint, search: SearchConfig, device: torch.device, precision: str) -> "Translator":
        """Build the model of a checkpoint; a UserError if its weights do not fit its settings, or one is not finite."""
        return cls(model_of(ckpt).to(device).eval(), ckpt.tokenizer, search, precision, ckpt.config.positions)

    @classmethod
    def of_command(cls, ckpt: Checkpoint, cfg: EvalConfig | TranslateConfig) -> "Translator":
        """Build the model on the device, and with the precision and search, that a command asks for.

        Raises:
            UserError: the device is not there, a setting is out of range, or the scheme has no such setting.
        """
        device = choose_device(cfg.device)
        precision = choose_precision(cfg.precision or ckpt.config.trainer.precision, device)
        known = vars(ckpt.config.search)
        changes = {name: value for name, value in vars(cfg.search).items() if name in known and value is not None}
        return cls.of(_changed(ckpt, cfg), replace(ckpt.config.search, **changes), device, precision)

    def translate(self, sentences: list[str], longest: int = LONGEST, name: str = "") -> list[str]:
        """Translate the first `longest` tokens of each sentence of raw text; an empty sentence stays empty.

        With the name of their test set, the terminal or log shows how many are done.
        """
        ids = read(self.tokenizer, sentences, longest).ids
        shown = progress(f"translating {name}", sum(map(bool, ids)), "sentences") if name else nullcontext()
        with shown as advance:
            found = self.hypotheses(ids, advance=advance)
        return self.decode([hypotheses[0].tokens if hypotheses else [] for hypotheses in found])

    @torch.inference_mode()
    def losses(self, src: list[str], ref: list[str], longest: int = LONGEST) -> list[tuple[float, int]]:
        """The loss of each reference, given its source and its own words (teacher forcing).

        Of both sides `longest` tokens are read, or as many as the model has positions for.

        Returns:
            The sum in nats over the target tokens of each reference, and their number; eos is one of them.
        """
        src_ids, ref_ids = self._read(src, longest), self._read(ref, longest)
        nats = torch.stack(self._forced(src_ids, ref_ids, "sum")).tolist()
        return [*zip(nats, (len(ids) + 1 for ids in ref_ids), strict=True)]

    @torch.inference_mode()
    def token_losses(self, src: list[str], ref: list[str], longest: int = LONGEST) -> list[Float[Tensor, " tokens"]]:
        """The same in nats for each token of each reference, and last for its eos."""
        src_ids, ref_ids = self._read(src, longest), self._read(ref, longest)
        found = self._forced(src_ids, ref_ids, "none")
        return [row[: len(ids) + 1].cpu() for row, ids in zip(found, ref_ids, strict=True)]

    def _read(self, lines: list[str], longest: int) -> list[list[int]]:
        return read(self.tokenizer, lines, min(longest, self.longest)).ids

    def _forced(self, src_ids: list[list[int]], ref_ids: list[list[int]], reduction: str) -> list[Tensor]:
        """The cross-entropy of each reference, as `reduction` has it; padding counts 0."""
        device = self.model.embedding.weight.device
        order = sorted(range(len(ref_ids)), key=lambda row: (len(ref_ids[row]), len(src_ids[row])))
        nats: list[Tensor] = [torch.empty(0)] * len(ref_ids)

        def padded(sentences: list[list[int]]) -> Tensor:
            return pad_sequence([*map(torch.tensor, sentences)], True, PAD).to(device)

        for rows in (order[at : at + FORCED] for at in range(0, len(order), FORCED)):
            memory_of = padded([[*src_ids[row], EOS] for row in rows])
            given, next_tokens = (
                padded([[*a, *ref_ids[row], *b] for row in rows]) for a, b in (([BOS], []), ([], [EOS]))
            )
            positions = self.positions_of([src_ids[row] for row in rows], [len(ref_ids[row]) + 1 for row in rows])
            work = f"computing the loss of {len(rows)} references of up to {given.shape[1]} tokens"
            with short_of_memory(lambda work=work: work), computing_in(self.precision, device):
                hidden = self.model.decode(given, self.model.encode(memory_of, *positions))
                for row, of_row, right in zip(rows, hidden, next_tokens, strict=True):  # one by one: logits are large
                    logits = self.model.logits(of_row).float()
                    nats[row] = F.cross_entropy(logits, right, ignore_index=PAD, reduction=reduction)
        return nats

    def score(self, src: list[str], ref: list[str]) -> Scores:
        """BLEU and chrF of the translations of these sources against their references, one for each."""
        return score(self.translate(src), ref)

    @torch.inference_mode()
    def encode(self, sentences: list[str]) -> list[Float[Tensor, "tokens d_model"]]:
        """The encoder's output for each sentence of raw text, with a row for each token and one for eos."""
        device = self.model.embedding.weight.device
        with computing_in(self.precision, device):
            ids = [[*ids, EOS] for ids in read(self.tokenizer, sentences).ids]
            drawn = [self.positions_of([row[:-1]], [1])[:1] for row in ids]
            return [
                self.model.memory(torch.tensor([row], device=device), *pos)[0].float()
                for row, pos in zip(ids, drawn, strict=True)
            ]

    def positions_of(self, sources: list[list[int]], tgt_lengths: list[int]) -> list[Tensor]:
        """Positions of sources with eos, and of as many target tokens; none with positions.eval=consecutive.

        They are drawn from the words of each source alone, so neither the batch nor the order of sentences matters.

        Raises:
            UserError: a sentence has more tokens than there are positions.
        """
        if self.positions is None:
            return []
        reach, device = self.positions.reach, self.model.embedding.weight.device
        src_lengths = [len(ids) + 1 for ids in sources]
        if (longest := max(*src_lengths, *tgt_lengths)) > reach:
            most = f"{longest:,} tokens, and positions.reach={reach:,} gives positions to no more"
            raise UserError(f"a sentence may have {most}: take positions.eval=consecutive")
        seeds = [int(np.random.SeedSequence([0, *ids]).generate_state(1)[0]) for ids in sources]
        numbers = torch.stack([torch.rand(2, reach, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        return [
            drawn(self.positions, numbers[:, side], torch.tensor(lengths, device=device), max(lengths))
            for side, lengths in enumerate((src_lengths, tgt_lengths))
        ]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The text of each sequence of ids as one line, with blanks for other white space.

        Every byte is a token, so a model can write a line break, which would shift all lines that follow in a file. A
        byte order mark at the beginning would be skipped when the file is read.
        """
        return [" ".join(text.split()).lstrip("\ufeff ") for text in self.tokenizer.decode(ids)]

    def hypotheses(
        self,
        sources: list[list[int]],
        lengths: list[int] | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> list[list[Hypothesis]]:
        """Up to `beam` hypotheses of each source, best first; none of an empty one.

        Args:
            sources: token ids, without eos.
            lengths: tokens of each hypothesis with eos; None: from 1 to the most that the search allows.
            advance: called with the number of sentences of each batch that is done.
        """
        most = [min(n, self._reach) for n in lengths] if lengths else [*map(self.most_tokens, sources)]
        found: list[list[Hypothesis]] = [[] for _ in sources]

        def search_batch(rows: list[int]) -> list[list[Hypothesis]]:
            shortest = [lengths[row] for row in rows] if lengths else None
            return self._search([sources[row] for row in rows], [most[row] for row in rows], shortest)

        workers = torch.get_num_threads() if self.model.embedding.weight.device.type == "cpu" else 1
        batches = self.batches([len(ids) for ids in sources], workers)
        for rows, hypotheses in zip(batches, in_threads(search_batch, batches, workers), strict=True):
            for row, of_row in zip(rows, hypotheses, strict=True):
                found[row] = of_row
            if advance:
                advance(len(rows))
        return found

    def most_tokens(self, source: list[int]) -> int:
        """The most tokens, with eos, that a hypothesis of this source may have."""
        return min(int(self.search.max_len_a * (len(source) + 1)) + self.search.max_len_b, self._reach)

    @property
    def longest(self) -> int:
        """The tokens, without eos, of the longest sentence that there are positions for."""
        return self._reach - 1

    @property
    def _reach(self) -> int:
        """The positions that there are for a hypothesis."""
        of_table = sys.maxsize if self.model.max_len is None else self.model.max_len + 1
        return of_table if self.positions is None else min(of_table, self.positions.reach)

    def batches(self, lengths: list[int], workers: int) -> list[list[int]]:
        """Rows of similar length, longest first: a batch that is too large for memory fails at once."""
        order = sorted((row for row, n in enumerate(lengths) if n), key=lambda row: (-lengths[row], row))
        slots = len(order) * (lengths[order[0]] + 1) * self.search.beam if order else 0
        busy = max(1, min(workers, slots // SLOTS_OF_A_THREAD))
        budget = min(self.search.batch_tokens, -(-slots // busy))  # a batch for each worker at least
        batches = []
        while order:
            size = max(1, budget // ((lengths[order[0]] + 1) * self.search.beam))
            batches.append(order[:size])
            order = order[size:]
        return batches

    @torch.no_grad()  # in inference_mode autocast would cast the weights again at every step
    def _search(
        self, sources: list[list[int]], max_lens: list[int], min_lens: list[int] | None
    ) -> list[list[Hypothesis]]:
        search, device = self.search, self.model.embedding.weight.device
        src = pad_sequence([torch.tensor([*ids, EOS]) for ids in sources], True, PAD).to(device)
        positions = self.positions_of(sources, max_lens)
        remedy = f"lower search.batch_tokens ({search.batch_tokens:,}) or search.beam ({search.beam})"
        work = f"translating {len(src)} sources of up to {src.shape[1]} tokens: {remedy}"

        def step(tokens: Tensor, state: DecoderState) -> Tensor:
            return self.model.decode(tokens[:, None], state)[:, -1]

        with short_of_memory(lambda: work), computing_in(self.precision, device):
            return beam_search(
                step,
                self.model.logits,
                self.model.encode(src, *positions),
                max_lens,
                beam=search.beam,
                penalty=lambda n: LENGTH_PENALTIES[search.length_penalty_form](n, search.length_penalty),
                vocab=len(self.tokenizer),
                bos=BOS,
                eos=EOS,
                device=device,
                min_lens=min_lens,
            )


def _changed(ckpt: Checkpoint, cfg: EvalConfig | TranslateConfig) -> Checkpoint:
    """The checkpoint with these settings of position and positions in place of its own."""
    if cfg.positions.eval is not None:
        positions = replace(ckpt.config.positions, eval=cfg.positions.eval)
        ckpt = replace(ckpt, config=replace(ckpt.config, positions=positions))
    changes = {name: value for name, value in vars(cfg.position).items() if value is not None}
    position = ckpt.config.position
    if not changes:
        return ckpt
    if not isinstance(position, RopeConfig):
        raise UserError(f"position.{next(iter(changes))} is a setting of rope, and this model has {position.name}")
    return replace(ckpt, config=replace(ckpt.config, position=replace(position, **changes)))


def in_threads(work: Callable[[A], B], parts: Sequence[A], n: int) -> Iterator[B]:
    """Yield the result of `work` for each part, in their order, computed by n threads of one core each.

    Decoding is many small steps. Several batches side by side, each on its core, are faster than one batch whose every
    step waits for all cores; and another process on the machine delays one of the batches only.
    """
    if n == 1 or len(parts) < 2:
        yield from map(work, parts)
        return
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, parts)
    finally:
        torch.set_num_threads(n)
