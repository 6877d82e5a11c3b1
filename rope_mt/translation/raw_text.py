"""Only scores of raw text compare with published ones: text in subwords or tokens is refused, or warned of."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from rope_mt.data.text import NOT_NFC, oddities, tally
from rope_mt.data.tokenizer import LONGEST, LONGEST_PIECE, list_lines
from rope_mt.errors import UserError
from rope_mt.translation.scoring import score

LONGEST_REFERENCE = LONGEST * LONGEST_PIECE  # characters: more than is translated of any sentence
SENTENCEPIECE = re.compile("▁|<0x[0-9A-F]{2}>")  # its mark of a blank, and a lone byte
SUBWORDS = re.compile(r"(?<=\S)@@(?= \S)|(?<=\S )##(?=\w)")  # un@@ able of subword-nmt, un ##able of WordPiece


def require_raw_text(references: Sequence[str], where: str) -> None:
    """Refuse references that are not raw text; `where` says in the message where they are from.

    Raises:
        UserError: a line has the mark of a subword, or most full stops at the ends of lines stand alone.
    """
    if mark := _first_mark(references):
        reason = f'line {mark[0]}, has the subword mark "{mark[1]}": give whole words, raw text that is not tokenised'
        raise UserError(f"the references of {where}, {reason}")
    if _is_tokenised(references):
        reason = "most full stops stand alone: give raw text, or no published score compares"
        raise UserError(f"the references of {where} are tokenised, {reason}")


def scoring_warnings(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """Reasons, a line each, why scores of these lines may not mean what they seem to mean."""
    warnings = []
    if mark := _first_mark(hypotheses):
        warnings.append(f'the output has subword marks, as "{mark[1]}" in line {mark[0]}: words are not put together')
    alone = "tokenised (most full stops stand alone)"
    if _is_tokenised(references):
        warnings.append(f"the references are {alone}: compare these scores with each other alone")
    elif _is_tokenised(hypotheses):
        warnings.append(f"the output is {alone} and the references are not")
    unseen = Counter(name for line in references for name in oddities(line))
    if decomposed := unseen.pop(NOT_NFC, 0):
        in_nfc = [unicodedata.normalize("NFC", line) for line in references]
        warnings.append(
            f"{decomposed:,} of {len(references):,} references are {NOT_NFC}, in which translations are: the scores "
            f"compare them as they are; with all in NFC, BLEU is {score(list(hypotheses), in_nfc).bleu:.2f}"
        )
    if unseen:
        warnings.append(f"the references have {tally(unseen)}")
    if empty := [n for n, line in enumerate(references, start=1) if not line.strip()]:
        warnings.append(f"{list_lines(empty)}: the reference is empty, and whatever is written there is wrong")
    if long := [n for n, line in enumerate(references, start=1) if len(line) > LONGEST_REFERENCE]:
        reason = f"the reference has over {LONGEST_REFERENCE:,} characters, and weighs as much in the scores"
        warnings.append(f"{list_lines(long)}: {reason}")
    return warnings


def _first_mark(lines: Sequence[str]) -> tuple[int, str] | None:
    """The first line, from 1, with the mark of a subword, and the mark; None if these are words.

    All marks occur in real text too (`a@@ b`, `##main`, a drawing with U+2581). Those of SentencePiece count only where
    half of the lines have one, as its output has; those of subword-nmt and WordPiece where there are at least two, and
    one for every hundred lines.
    """
    numbered = [*enumerate(lines, start=1)]
    pieces = [(n, match[0]) for n, line in numbered if (match := SENTENCEPIECE.search(line))]
    marks = [(n, match[0]) for n, line in numbered for match in SUBWORDS.finditer(line)]
    if pieces and len(pieces) >= len(lines) / 2:
        return pieces[0]
    return marks[0] if len(marks) >= max(2, len(lines) / 100) else None


def _is_tokenised(lines: Sequence[str]) -> bool:
    """Whether most sentences that end in a full stop have a blank before it, and at least ten of them."""
    alone = [line.endswith(" .") for line in map(str.rstrip, lines) if line.endswith(".")]
    return sum(alone) >= 10 and sum(alone) > len(alone) / 2
