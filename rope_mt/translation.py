"""Text in, text out: a trained Transformer, its tokenizer and a search, and the command `rope-mt translate`."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from rope_mt.config.commands import SearchChange, TranslateConfig
from rope_mt.config.training import SearchConfig
from rope_mt.data.text import normalize
from rope_mt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from rope_mt.device import choose_device, choose_precision, computing_in
from rope_mt.errors import UserError
from rope_mt.model.search import Hypothesis, beam_search
from rope_mt.model.transformer import DecoderState, Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint


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

    @torch.inference_mode()
    def translate(self, sentences: list[str]) -> list[str]:
        """Translate raw text, a sentence a string; an empty sentence stays empty."""
        encoded = [[*ids, EOS] for ids in self.tokenizer.encode([normalize(sentence) for sentence in sentences])]
        found: list[list[int]] = [[] for _ in sentences]
        was_training = self.model.training
        self.model.eval()
        device = self.model.embedding.weight.device
        with computing_in(self.precision, device):
            for rows in self._batches([len(ids) for ids in encoded]):
                src = [torch.tensor(encoded[row]) for row in rows]
                batch = pad_sequence(src, batch_first=True, padding_value=PAD).to(device)
                for row, hypotheses in zip(rows, self._search(batch, [len(ids) for ids in src]), strict=True):
                    found[row] = hypotheses[0].tokens
        self.model.train(was_training)
        return self.tokenizer.decode(found)

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Rows of similar length, longest first, so that a batch that is too large for memory fails at once."""
        order = sorted((row for row, n in enumerate(lengths) if n > 1), key=lambda row: (-lengths[row], row))
        while order:
            most = max(1, self.search.batch_tokens // (lengths[order[0]] * self.search.beam))
            yield order[:most]
            order = order[most:]

    def _search(self, src: torch.Tensor, lengths: list[int]) -> list[list[Hypothesis]]:
        def step(tokens: torch.Tensor, state: DecoderState) -> torch.Tensor:
            hidden = self.model.decode(tokens[:, None], state)[:, -1]
            return self.model.logits(hidden).float().log_softmax(dim=-1)

        search, known = self.search, self.model.max_len or sys.maxsize  # no hypothesis grows beyond what positions know
        return beam_search(
            step,
            self.model.encode(src),
            [min(int(search.max_len_a * n) + search.max_len_b, known) for n in lengths],
            beam=search.beam,
            length_penalty=search.length_penalty,
            bos=BOS,
            eos=EOS,
            device=src.device,
        )


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
