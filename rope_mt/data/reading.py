"""What a model reads of a line: its first tokens, however long the line is. And what is odd in a test set."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rope_mt.data import direction, text
from rope_mt.data.tokenizer import LONGEST_PIECE, Tokenizer

# Tokens of a line; what is behind them is left out. No sentence is so long: four times what training takes by default,
# and as much as fairseq's models read. A line without end would take memory by the square of its length.
LONGEST = 1_024
NAMED = 5  # lines that a message names


class Read(NamedTuple):
    """The ids of each line, without bos and eos, and the numbers, from 1, of the lines that were cut."""

    ids: list[list[int]]
    cut: list[int]


def read(tokenizer: Tokenizer, lines: Sequence[str], most: int = LONGEST) -> Read:
    """The first `most` tokens of each line."""
    whole = tokenizer.encode([text.normalize(line, most * LONGEST_PIECE) for line in lines])
    return Read([ids[:most] for ids in whole], [n for n, ids in enumerate(whole, start=1) if len(ids) > most])


def named(numbers: Sequence[int]) -> str:
    """Lines by their numbers: line 2; lines 2, 3, 5, 7, 11 and 4 more."""
    some = ", ".join(f"{n:,}" for n in numbers[:NAMED])
    more = f" and {len(numbers) - NAMED:,} more" if len(numbers) > NAMED else ""
    return f"line{'s' * (len(numbers) > 1)} {some}{more}"


def doubts_of(
    files: list[tuple[Path, Path]], tokenizer: Tokenizer, src_lang: str, tgt_lang: str, loss: bool = False
) -> list[str]:
    """What of a validation or test set is not read as it is, or may be a mistake: a line each.

    Args:
        loss: whether the references are read for a loss too, and not for scoring alone.

    Raises:
        UserError: as `text.read_test_set` does.
    """
    said: list[str] = []
    sides = text.read_test_set(files, said.append)
    kinds = ("translated", "in the loss")[: 1 + loss]
    first = 0
    for pair in files:
        here = slice(first, first := first + text.count(pair[0]))
        for path, lines, kind in zip(pair, sides, kinds, strict=False):
            if cut := read(tokenizer, lines[here]).cut:
                said.append(f"{path}, {named(cut)}: only the first {LONGEST:,} tokens of each are {kind}")
    if direction.most_wrong(direction.of_pairs(zip(*sides, strict=True), src_lang, tgt_lang)):
        names = ", ".join(str(source) for source, _ in files)
        said.append(f"{names}: most sources look like the language {tgt_lang}, and their references like {src_lang}")
    return said
