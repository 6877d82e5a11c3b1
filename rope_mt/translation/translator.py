"""Text in, text out: a trained Transformer, its tokenizer and a search."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rope_mt.config.commands import SearchChange
from rope_mt.config.training import SearchConfig
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, PAD, Tokenizer, read
from rope_mt.model.search import LENGTH_PENALTIES, Hypothesis, beam_search
from rope_mt.model.transformer import DecoderState, Transformer
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.fitting import refuse_no_numbers
from rope_mt.system.device import computing_in
from rope_mt.system.memory import short_of_memory

WORTH_A_THREAD = 4_096  # slots; with fewer, threads wait for each other's Python more than they compute

A = TypeVar("A")
B = TypeVar("B")


class Translator:
    """Translates sentences in batches of similar length, and gives them back in their order."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, search: SearchConfig, precision: str) -> None:
        self.model, self.tokenizer, self.search, self.precision = model, tokenizer, search, precision

    @classmethod
    def of(cls, ckpt: Checkpoint, search: SearchConfig, device: torch.device, precision: str) -> "Translator":
        """Build the model that a checkpoint describes.

        Raises:
            UserError: a weight is not finite.
        """
        refuse_no_numbers(ckpt.path, ckpt.weights)
        model = Transformer(ckpt.config.model, ckpt.config.position, len(ckpt.tokenizer), PAD)
        model.load_state_dict(ckpt.weights)
        return cls(model.to(device), ckpt.tokenizer, search, precision)

    def translate(self, sentences: list[str], most: int = LONGEST) -> list[str]:
        """Translate the first `most` tokens of each sentence of raw text; an empty sentence stays empty."""
        found = self.hypotheses(read(self.tokenizer, sentences, most).ids)
        return self.decode([hypotheses[0].tokens if hypotheses else [] for hypotheses in found])

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Text of each sequence of ids, with blanks for other white space, as in the targets that a model learns.

        Every byte is a token, and a line break among them would set all lines of a file after it against wrong ones.
        A byte order mark at the beginning would be left out when the file is read.
        """
        return [" ".join(text.split()).lstrip("\ufeff ") for text in self.tokenizer.decode(ids)]

    def hypotheses(
        self,
        sources: list[list[int]],
        min_lens: list[int] | None = None,
        max_lens: list[int] | None = None,
        advance: Callable[[int], None] = lambda sentences: None,
    ) -> list[list[Hypothesis]]:
        """Up to `beam` hypotheses of each source, best first; none of an empty one.

        Args:
            sources: token ids, without the end of the sentence.
            min_lens, max_lens: tokens of each hypothesis, its end counted; None: from 1 to what the search allows.
            advance: called with the number of sentences whenever some are done.
        """
        longest = max_lens or [int(self.search.max_len_a * (len(ids) + 1)) + self.search.max_len_b for ids in sources]
        known = sys.maxsize if self.model.max_len is None else self.model.max_len + 1  # words and their end
        found: list[list[Hypothesis]] = [[] for _ in sources]

        def search(rows: list[int]) -> list[list[Hypothesis]]:
            src = pad_sequence([torch.tensor([*sources[row], EOS]) for row in rows], True, PAD)
            shortest = [min_lens[row] for row in rows] if min_lens else None
            return self._search(src, [min(longest[row], known) for row in rows], shortest)

        was_training = self.model.training
        device = self.model.embedding.weight.device
        workers = torch.get_num_threads() if device.type == "cpu" else 1
        batches = self._batches([len(ids) for ids in sources], workers)
        try:
            self.model.eval()
            for rows, hypotheses in zip(batches, in_threads(search, batches, workers), strict=True):
                for row, of_row in zip(rows, hypotheses, strict=True):
                    found[row] = of_row
                advance(len(rows))
        finally:
            self.model.train(was_training)
        return found

    def _batches(self, lengths: list[int], workers: int) -> list[list[int]]:
        """Rows of similar length, longest first, so that a batch that is too large for memory fails at once."""
        order = sorted((row for row, n in enumerate(lengths) if n), key=lambda row: (-lengths[row], row))
        slots = len(order) * (lengths[order[0]] + 1) * self.search.beam if order else 0
        busy = max(1, min(workers, slots // WORTH_A_THREAD))
        budget = min(self.search.batch_tokens, -(-slots // busy))  # something to do for each
        batches = []
        while order:
            most = max(1, budget // ((lengths[order[0]] + 1) * self.search.beam))
            batches.append(order[:most])
            order = order[most:]
        return batches

    @torch.no_grad()  # and not inference_mode, in which autocast casts the weights anew at every step
    def _search(
        self, src: Int[Tensor, "sentences src"], max_lens: list[int], min_lens: list[int] | None
    ) -> list[list[Hypothesis]]:
        def step(tokens: Tensor, state: DecoderState) -> Tensor:
            return self.model.decode(tokens[:, None], state)[:, -1]

        def log_probs(hidden: Tensor) -> Tensor:
            logits = self.model.logits(hidden)
            with torch.autocast(device.type, enabled=False):  # it would make a float32 copy of them first
                return logits.log_softmax(dim=-1, dtype=torch.float32)

        search, device = self.search, self.model.embedding.weight.device

        def shape() -> str:
            return (
                f"translating {len(src)} sources of up to {src.shape[1]} tokens: lower search.batch_tokens "
                f"({search.batch_tokens:,}) or search.beam ({search.beam})"
            )

        with short_of_memory(shape), computing_in(self.precision, device):
            return beam_search(
                step,
                log_probs,
                self.model.encode(src.to(device)),
                max_lens,
                beam=search.beam,
                penalty=lambda n: LENGTH_PENALTIES[search.length_penalty_form](n, search.length_penalty),
                vocab=len(self.tokenizer),
                bos=BOS,
                eos=EOS,
                device=device,
                min_lens=min_lens,
            )


def in_threads(work: Callable[[A], B], parts: Sequence[A], n: int) -> Iterator[B]:
    """What `work` makes of each part, in their order, done by n threads of one core each.

    Decoding is many small steps: several batches side by side, each on its core, are faster than one batch whose every
    step waits for all cores, and no other process on the machine can hold all of them up.
    """
    if n == 1 or len(parts) < 2:
        yield from map(work, parts)
        return
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, parts)
    finally:
        torch.set_num_threads(n)


def changed(search: SearchConfig, change: SearchChange) -> SearchConfig:
    """The search of a run with what an evaluation wants otherwise.

    Raises:
        UserError: a value is out of range.
    """
    values = {field.name: getattr(change, field.name) for field in fields(SearchChange)}
    return replace(search, **{name: value for name, value in values.items() if value is not None})
