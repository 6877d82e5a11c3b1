"""`rope-mt translate`: lines from a file, a pipe or a person, and a line for each."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rope_mt.config.commands import TranslateConfig, TranslateSettings
from rope_mt.config.data import DataConfig
from rope_mt.data import checks, text
from rope_mt.data.tokenizer import LONGEST, list_lines, read
from rope_mt.errors import UserError
from rope_mt.model.search import Hypothesis
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.runs.selection import load
from rope_mt.system.device import choose_device, choose_precision
from rope_mt.system.files import whole_file
from rope_mt.system.progress import progress
from rope_mt.translation import attention_map
from rope_mt.translation.prompt import typed
from rope_mt.translation.translator import Translator, changed

MANY = 100  # lines from which on the speed is reported: of fewer it says little, and scripts expect a quiet command


def translate(cfg: TranslateConfig) -> None:
    """Translate a file or standard input line by line; prompt where a person sits at both ends.

    There is a line for each line: blank ones are answered by empty ones; bytes that are not UTF-8 become U+FFFD, lines
    of more than LONGEST tokens, or more than the model's positions, are cut, and a byte order mark at the beginning is
    left out, each with a warning. Another tells of lines in the language that they should be translated to.

    Raises:
        UserError: a file cannot be read or written, input and output are one file, search.nbest is larger than the
            beam, or translate.attention was asked of other than one sentence.
    """
    wanted = cfg.translate
    _check_files(wanted)
    prompts = wanted.input is None and wanted.output is None and sys.stdin.isatty() and sys.stdout.isatty()
    if prompts and wanted.attention:
        raise UserError("translate.attention draws one sentence: echo it into the command, or give translate.input")

    began = time.monotonic()
    ckpt = load(Path(cfg.checkpoint))
    device = choose_device(cfg.device)
    precision = choose_precision(cfg.precision or ckpt.config.trainer.precision, device)
    search = changed(ckpt.config.search, cfg.search)
    if cfg.search.nbest > search.beam:
        raise UserError(f"search.nbest={cfg.search.nbest} needs search.beam={cfg.search.nbest} or more")
    translator = Translator.of(ckpt, search, device, precision)
    loading = time.monotonic() - began

    if prompts:
        _converse(translator, ckpt, cfg)
        return
    lines = _readable(text.lines(Path(wanted.input), _warn) if wanted.input else _standard_input())
    if wanted.attention and (len(lines) != 1 or not lines[0].strip()):
        there = "a blank line" if len(lines) == 1 else f"{len(lines):,} lines"
        raise UserError(f"translate.attention draws one sentence, and the input is {there}")
    with _output(wanted.output) as out:  # before the work, which would be lost to a folder that cannot be written
        began = time.monotonic()
        _doubt_direction(lines, ckpt.config.data)
        sources = _sources(translator, lines)
        with progress("translating", sum(map(bool, sources)), "sentences") as advance:
            found = translator.hypotheses(sources, advance=advance)
        took = time.monotonic() - began
        if wanted.attention:
            best = found[0][0].tokens
            attention_map.draw(translator.model, translator.tokenizer, sources[0], best, Path(wanted.attention))
        for line in written(translator, found, cfg.search.nbest, wanted.scores):
            out.write(line.encode() + b"\n")
    if len(lines) >= MANY:
        print(_speed(sources, found, took, loading), file=sys.stderr)


def written(translator: Translator, found: list[list[Hypothesis]], nbest: int, scores: bool) -> Iterator[str]:
    """The lines that are put out.

    One for each sentence, the score and a tab before it if wanted; or, for nbest above 1, up to so many for each, best
    first, of three fields with tabs between them: the number of the sentence from 1, the score, and the hypothesis.
    An empty sentence has one hypothesis, the empty one, of score 0 as it is certain.
    """
    kept = [hypotheses[:nbest] or [Hypothesis([], 0.0)] for hypotheses in found]
    said = iter(translator.decode([hypothesis.tokens for hypotheses in kept for hypothesis in hypotheses]))
    for number, hypotheses in enumerate(kept, start=1):
        for hypothesis in hypotheses:
            place = f"{number}\t" if nbest > 1 else ""
            score = f"{hypothesis.score:.4f}\t" if nbest > 1 or scores else ""
            yield place + score + next(said)


# ---- in and out -----------------------------------------------------------------------------------------------------


def _check_files(wanted: TranslateSettings) -> None:
    if wanted.output is None:
        return
    output = Path(wanted.output)
    if output.exists() and not output.is_file():  # a folder; or a device, which renaming would replace by a file
        raise UserError(f"cannot write {output}: it is not a file; without translate.output standard output is written")
    if wanted.input is not None and output.exists() and Path(wanted.input).exists() and output.samefile(wanted.input):
        raise UserError(f"translate.input and translate.output are one file, {output}: name another for the output")


@contextmanager
def _output(path: str | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with whole_file(Path(path)) as file:
            yield file


def _standard_input() -> Iterator[bytes]:
    if sys.stdin.isatty():
        print("reading what is typed until Ctrl-D", file=sys.stderr)
    yield from text.lines_of(sys.stdin.buffer.readline, "standard input", _warn)


def _readable(lines: Iterable[bytes]) -> list[str]:
    broken = 0
    sentences = []
    for line in lines:
        try:
            sentences.append(line.decode())
        except UnicodeDecodeError:
            sentences.append(line.decode(errors="replace"))
            broken += 1
    if broken:
        _warn(f"{broken} of {len(sentences)} lines are not UTF-8; U+FFFD stands for what is not")
    return sentences


def _sources(translator: Translator, lines: list[str]) -> list[list[int]]:
    """Their tokens, as far as the model's positions reach, and LONGEST at most."""
    most = min(translator.model.max_len or LONGEST, LONGEST)
    found = read(translator.tokenizer, lines, most)
    if found.cut:
        _warn(f"{list_lines(found.cut)}: only the first {most:,} tokens of each are translated")
    return found.ids


def _doubt_direction(lines: list[str], data: DataConfig) -> None:
    ways = checks.source_directions(lines, data.src_lang, data.tgt_lang)
    if checks.mostly_wrong(ways):
        of = f"{ways.count(-1):,} of {len(lines):,} lines"
        _warn(f"{of} look like {data.tgt_lang}, and this model translates {data.src_lang} to {data.tgt_lang}")


def _warn(what: str) -> None:
    print(f"rope-mt: {what}", file=sys.stderr)


def _speed(sources: list[list[int]], found: list[list[Hypothesis]], took: float, loading: float) -> str:
    """Tokens are counted without the ends of sentences."""
    src = sum(map(len, sources))
    tgt = sum(len(hypotheses[0].tokens) for hypotheses in found if hypotheses)
    return (
        f"{sum(map(bool, sources)):,} sentences of {src:,} tokens translated to {tgt:,} in {took:.1f} s, "
        f"{tgt / took:,.0f} target tokens/s; loading the model took {loading:.1f} s"
    )


# ---- with a person --------------------------------------------------------------------------------------------------


def _converse(translator: Translator, ckpt: Checkpoint, cfg: TranslateConfig) -> None:
    run, data, position = Path(cfg.checkpoint).resolve().name, ckpt.config.data, ckpt.config.position.name
    print(f"{run}: {data.src_lang} to {data.tgt_lang}, position={position}. Ctrl-C clears the line, Ctrl-D ends.")
    for sentence in typed(f"{data.src_lang}> "):
        try:
            found = translator.hypotheses(_sources(translator, [sentence]))
        except KeyboardInterrupt:  # it took too long
            print()
            continue
        many = cfg.search.nbest > 1
        for line in written(translator, found, cfg.search.nbest, cfg.translate.scores):
            print(line.partition("\t")[2] if many else line)  # there is one sentence, which needs no number
