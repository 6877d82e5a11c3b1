"""Text in, text out: a trained Transformer, its tokenizer and a search, and the command `rope-mt translate`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rope_mt.config.commands import SearchChange, TranslateConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data.text import normalize
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from rope_mt.device import choose_device, choose_precision, computing_in
from rope_mt.errors import UserError
from rope_mt.model.search import LENGTH_PENALTIES, Hypothesis, beam_search
from rope_mt.model.transformer import DecoderState, Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint

A, B = TypeVar("A"), TypeVar("B")


class Translator:
    """Translates sentences in batches of similar length, and gives them back in their order."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, search: SearchConfig, precision: str) -> None:
        self.model, self.tokenizer, self.search, self.precision = model, tokenizer, search, precision

    @classmethod
    def of(cls, ckpt: Checkpoint, search: SearchConfig, device: torch.device, precision: str) -> "Translator":
        """Build the model that a checkpoint describes.

        Raises:
            UserError: the weights do not fit the configuration or the vocabulary.
        """
        model = Transformer(ckpt.config.model, ckpt.config.position, len(ckpt.tokenizer), PAD)
        try:
            model.load_state_dict(ckpt.weights)
        except RuntimeError as error:
            raise UserError(f"{ckpt.path}: the weights do not fit its configuration and vocabulary") from error
        return cls(model.to(device), ckpt.tokenizer, search, precision)

    def translate(self, sentences: list[str]) -> list[str]:
        """Translate raw text, a sentence a string; an empty sentence stays empty."""
        best = [hypotheses[0].tokens if hypotheses else [] for hypotheses in self.hypotheses(self.encode(sentences))]
        return self.tokenizer.decode(best)

    def encode(self, sentences: list[str]) -> list[list[int]]:
        """Token ids of raw text, without the end of the sentence."""
        return self.tokenizer.encode([normalize(sentence) for sentence in sentences])

    def hypotheses(
        self, sources: list[list[int]], min_lens: list[int] | None = None, max_lens: list[int] | None = None
    ) -> list[list[Hypothesis]]:
        """Up to `beam` hypotheses of each source, best first; none of an empty one.

        Args:
            sources: token ids, without the end of the sentence.
            min_lens, max_lens: tokens of each hypothesis, its end counted; None: from 1 to what the search allows.
        """
        longest = max_lens or [int(self.search.max_len_a * (len(ids) + 1)) + self.search.max_len_b for ids in sources]
        known = self.model.max_len or sys.maxsize  # no hypothesis grows beyond what positions know
        found: list[list[Hypothesis]] = [[] for _ in sources]

        def search(rows: list[int]) -> list[list[Hypothesis]]:
            src = pad_sequence([torch.tensor([*sources[row], EOS]) for row in rows], True, PAD)
            shortest = [min_lens[row] for row in rows] if min_lens else None
            return self._search(src, [min(longest[row], known) for row in rows], shortest)

        was_training = self.model.training
        self.model.eval()
        device = self.model.embedding.weight.device
        workers = torch.get_num_threads() if device.type == "cpu" else 1
        batches = self._batches([len(ids) for ids in sources], workers)
        for rows, hypotheses in zip(batches, in_threads(search, batches, workers), strict=True):
            for row, of_row in zip(rows, hypotheses, strict=True):
                found[row] = of_row
        self.model.train(was_training)
        return found

    def _batches(self, lengths: list[int], workers: int) -> list[list[int]]:
        """Rows of similar length, longest first, so that a batch that is too large for memory fails at once."""
        order = sorted((row for row, n in enumerate(lengths) if n), key=lambda row: (-lengths[row], row))
        slots = sum(lengths[row] + 1 for row in order) * self.search.beam
        budget = min(self.search.batch_tokens, -(-slots // workers))  # something to do for each
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
            logits = self.model.logits(self.model.decode(tokens[:, None], state)[:, -1])
            with torch.autocast(device.type, enabled=False):  # it would make a float32 copy of them first
                return logits.log_softmax(dim=-1, dtype=torch.float32)

        search, device = self.search, self.model.embedding.weight.device
        with computing_in(self.precision, device):
            return beam_search(
                step,
                self.model.encode(src.to(device)),
                max_lens,
                beam=search.beam,
                penalty=lambda n: LENGTH_PENALTIES[search.length_penalty_form](n, search.length_penalty),
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
    return replace(search, **{name: value for name, value in asdict(change).items() if value is not None})


def translate(cfg: TranslateConfig) -> None:
    """Translate standard input to standard output line by line; prompt when a person is typing.

    Bytes that are not UTF-8 become U+FFFD, with a warning.
    """
    ckpt = checkpoint.load(Path(cfg.checkpoint))
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision or ckpt.config.trainer.precision, device)
    translator = Translator.of(ckpt, changed(ckpt.config.search, cfg.search), device, precision)
    if sys.stdin.isatty():
        _converse(translator, ckpt)
        return
    lines = sys.stdin.buffer.read().split(b"\n")
    if not lines[-1]:
        lines.pop()  # the end of the last line, not another line
    for translation in translator.translate(_readable(lines)):
        sys.stdout.buffer.write(translation.encode() + b"\n")
    sys.stdout.buffer.flush()


def _readable(lines: list[bytes]) -> list[str]:
    broken = 0
    sentences = []
    for line in lines:
        try:
            sentences.append(line.decode())
        except UnicodeDecodeError:
            sentences.append(line.decode(errors="replace"))
            broken += 1
    if broken:
        print(f"rope-mt: {broken} of {len(lines)} lines are not UTF-8; U+FFFD stands for what is not", file=sys.stderr)
    return sentences


def _converse(translator: Translator, ckpt: Checkpoint) -> None:
    data = ckpt.config.data
    print(f"{data.src_lang} to {data.tgt_lang}; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            sentence = input(f"{data.src_lang}> ").strip()
        except EOFError:
            break
        if not sentence:
            break
        print(translator.translate([sentence])[0])
