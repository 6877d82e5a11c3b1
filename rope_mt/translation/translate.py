"""`rope-mt translate`: lines from a file, a pipe or a person, and a line for each."""

import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rope_mt.config.commands import TranslateConfig, TranslateSettings
from rope_mt.data import checks, text
from rope_mt.data.tokenizer import LONGEST, list_lines, read
from rope_mt.errors import UserError
from rope_mt.model.search import Hypothesis
from rope_mt.runs.checkpoint import Checkpoint, load
from rope_mt.system import surroundings
from rope_mt.system.files import whole_file
from rope_mt.system.memory import short_of_memory
from rope_mt.system.progress import progress
from rope_mt.translation import attention_map
from rope_mt.translation.prompt import typed_lines
from rope_mt.translation.translator import Translator

MANY = 100  # lines from which on the speed is printed: of fewer it says little, and scripts expect a quiet command


def translate(cfg: TranslateConfig) -> None:
    """Translate a file or standard input line by line; prompt where a person sits at both ends.

    Every input line has its output line, also a blank one. A warning tells of bytes that are not UTF-8, which become
    U+FFFD; of lines that are cut after LONGEST tokens, or where the model's positions end; of a byte order mark, which
    is skipped; of NUL characters, which stay; and of lines in the target language.

    Raises:
        UserError: a file cannot be read or written, input and output are one file, search.nbest is larger than the
            beam, or translate.attention is asked for and the input is not one sentence.
    """
    settings = cfg.translate
    _check_files(settings)
    if settings.output is None and surroundings.was_closed(sys.stdout):
        raise UserError("standard output is closed: name a file with translate.output=FILE")
    if settings.input is None and surroundings.was_closed(sys.stdin):
        raise UserError("standard input is closed: name a file with translate.input=FILE")
    at_prompt = settings.input is None and settings.output is None and sys.stdin.isatty() and sys.stdout.isatty()
    if at_prompt and settings.attention:
        raise UserError("translate.attention draws one sentence: echo it into the command, or give translate.input")

    began = time.monotonic()
    ckpt = load(Path(cfg.checkpoint))
    data = ckpt.config.data
    translator = Translator.of_command(ckpt, cfg)
    if cfg.search.nbest > translator.search.beam:
        raise UserError(f"search.nbest={cfg.search.nbest} needs search.beam={cfg.search.nbest} or more")
    loading = time.monotonic() - began

    if at_prompt:
        _converse(translator, ckpt, cfg)
        return
    lines = _input_lines(settings.input)
    if settings.attention and (len(lines) != 1 or not lines[0].strip()):
        size = "a blank line" if len(lines) == 1 else f"{len(lines):,} lines"
        raise UserError(f"translate.attention draws one sentence, and the input is {size}")
    # opened before the work, which would be lost if the folder cannot be written
    with whole_file(Path(settings.output)) if settings.output else nullcontext(sys.stdout.buffer) as out:
        began = time.monotonic()
        directions = checks.directions(lines, None, data.src_lang, data.tgt_lang)
        if checks.mostly_wrong(directions):
            wrong = f"{directions.count(-1):,} of {len(lines):,} lines look like {data.tgt_lang}"
            _warn(f"{wrong}, and this model translates {data.src_lang} to {data.tgt_lang}")
        sources = _token_ids(translator, lines)
        n_sentences = sum(1 for ids in sources if ids)
        with progress("translating", n_sentences, "sentences") as advance:
            found = translator.hypotheses(sources, advance=advance)
        seconds = time.monotonic() - began
        if settings.attention:
            best, png = found[0][0].tokens, Path(settings.attention)
            positions = translator.positions_of(sources, [translator.most_tokens(sources[0])])
            with short_of_memory(lambda: "drawing attention: leave out translate.attention"):
                attention_map.draw(translator.model, translator.tokenizer, sources[0], best, png, *positions)
        for line in output_lines(translator, found, cfg.search.nbest, settings.scores):
            out.write(line.encode() + b"\n")
        out.flush()
    if len(lines) >= MANY:
        src, tgt = sum(map(len, sources)), sum(len(hypotheses[0].tokens) for hypotheses in found if hypotheses)
        speed = f"{seconds:.1f} s, {tgt / seconds:,.0f} target tokens/s; loading the model took {loading:.1f} s"
        print(f"{n_sentences:,} sentences of {src:,} tokens translated to {tgt:,} in {speed}", file=sys.stderr)


def output_lines(translator: Translator, found: list[list[Hypothesis]], nbest: int, scores: bool) -> Iterator[str]:
    """The lines of the output.

    With nbest=1 a sentence has one line: its best hypothesis, after its score and a tab if `scores`. With more it has a
    line for each of its nbest hypotheses, best first: the number of the sentence from 1, score and hypothesis, with
    tabs between them. An empty sentence has one hypothesis, the empty one; it is certain, so its score is 0.
    """
    for number, hypotheses in enumerate(found, start=1):
        best = hypotheses[:nbest] or [Hypothesis([], 0.0)]
        for hypothesis, line in zip(best, translator.decode([kept.tokens for kept in best]), strict=True):
            score = f"{hypothesis.score:.4f}\t" if nbest > 1 or scores else ""
            yield (f"{number}\t" if nbest > 1 else "") + score + line


def _check_files(settings: TranslateSettings) -> None:
    if settings.output is None:
        return
    output = Path(settings.output)
    if output.exists() and not output.is_file():  # a folder; or a device, which renaming would replace by a file
        raise UserError(f"cannot write {output}: it is not a file; without translate.output standard output is written")
    if settings.input and output.exists() and Path(settings.input).exists() and output.samefile(settings.input):
        raise UserError(f"translate.input and translate.output are one file, {output}: name another for the output")


def _input_lines(path: str | None) -> list[str]:
    """The lines of a file, or of standard input for None, with U+FFFD for bytes that are not UTF-8."""
    if path is not None:
        lines = text.lines(Path(path), _warn)
    else:
        if sys.stdin.isatty():
            print("reading what is typed until Ctrl-D", file=sys.stderr)
        lines = text.lines_of(sys.stdin.buffer.readline, "standard input", _warn)
    encoded = list(lines)
    decoded = [line.decode(errors="replace") for line in encoded]
    if broken := sum(line.encode() != original for line, original in zip(decoded, encoded, strict=True)):
        _warn(f"{broken} of {len(decoded)} lines are not UTF-8; U+FFFD stands for what is not")
    return decoded


def _token_ids(translator: Translator, lines: list[str]) -> list[list[int]]:
    """The tokens of each line, as far as the model's positions reach, and LONGEST at most."""
    longest = min(translator.longest, LONGEST)
    tokens = read(translator.tokenizer, lines, longest)
    if tokens.cut:
        _warn(f"{list_lines(tokens.cut)}: only the first {longest:,} tokens of each are translated")
    return tokens.ids


def _warn(warning: str) -> None:
    print(f"rope-mt: {warning}", file=sys.stderr)


def _converse(translator: Translator, ckpt: Checkpoint, cfg: TranslateConfig) -> None:
    name, data, nbest = Path(cfg.checkpoint).resolve().name, ckpt.config.data, cfg.search.nbest
    kind = f"{data.src_lang} to {data.tgt_lang}, position={ckpt.config.position.name}"
    print(f"{name}: {kind}. Ctrl-C clears the line, Ctrl-D ends.")
    for sentence in typed_lines(f"{data.src_lang}> "):
        try:
            found = translator.hypotheses(_token_ids(translator, [sentence]))
        except KeyboardInterrupt:  # the person did not want to wait
            print()
            continue
        for line in output_lines(translator, found, nbest, cfg.translate.scores):
            print(line.partition("\t")[2] if nbest > 1 else line)  # one sentence needs no number
