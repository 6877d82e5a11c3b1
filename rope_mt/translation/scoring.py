"""The one scorer, for training, eval and compare: sacreBLEU scores, each with the signature that says how it was made.

Papers have called at least five different numbers BLEU, more than a point apart for one output. `score` gives the one
to report; `variants` gives the others too, each with what it may be compared with; and text that would make any of
them mean something else, in subwords or tokens, is refused or named.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.text import Text
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF

from rope_mt.data.tokenizer import LONGEST, LONGEST_PIECE, list_lines
from rope_mt.errors import UserError

ENDLESS = LONGEST * LONGEST_PIECE  # characters: more than is translated of any sentence
SENTENCEPIECE = re.compile("▁|<0x[0-9A-F]{2}>")  # its blank, and a byte that was not put together
SUBWORDS = re.compile(r"(?<=\S)@@(?= \S)|(?<=\S )##(?=\w)")  # un@@ able of subword-nmt, un ##able of WordPiece


@dataclass(frozen=True)
class Scores:
    """Corpus scores from 0 to 100, each with the signature that says how it was computed."""

    bleu: float
    bleu_signature: str
    bleu_detail: str  # precisions, brevity penalty and lengths, in sacreBLEU's form
    chrf: float
    chrf_signature: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Variant:
    """One of several corpus scores, 0 to 100, of the same output, and what it may be compared with."""

    name: str
    value: float
    signature: str
    label: str


def score(hypotheses: list[str], references: list[str]) -> Scores:
    """BLEU (13a, cased) and chrF2 of raw, detokenised text.

    Neither side is looked at for marks of subwords: hypotheses may be anything, as those of a model that has just begun
    to learn are, and references are a part of a test set that `refuse_subwords` has seen as a whole.

    Raises:
        UserError: there are not as many hypotheses as references.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    bleu, bleu_signature = _bleu(hypotheses, references)
    metric = CHRF()
    chrf = metric.corpus_score(hypotheses, [references])
    return Scores(
        bleu.score, bleu_signature, bleu.format(signature=bleu_signature), chrf.score, str(metric.get_signature())
    )


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF2 of each sentence by itself, 0 to 100."""
    metric = CHRF()
    return [metric.sentence_score(hyp, [ref]).score for hyp, ref in zip(hypotheses, references, strict=True)]


def variants(hypotheses: list[str], references: list[str], lang: str = "de") -> list[Variant]:
    """The scores that papers report of one output of raw, detokenised text; the first is the one of `score`.

    Tokenised BLEU is multi-bleu.perl's, but for smoothing where no 4-gram matches. Tokens are those of Moses'
    tokenizer.perl, in the form of fairseq's scripts: tensor2tensor's also made the quotation marks of the references
    straight first, which no other score here does. Splitting compounds: fairseq's compound_split_bleu.sh.

    Args:
        lang: whose rules of Moses tokenise.

    Raises:
        UserError: as `score` does.
    """
    main = score(hypotheses, references)

    def other(
        name: str, label: str, sides: tuple[list[str], list[str]] = (hypotheses, references), **how: Any
    ) -> Variant:
        bleu, signature = _bleu(*sides, **how)
        return Variant(name, bleu.score, signature, label)

    tokens = (_moses(hypotheses, lang), _moses(references, lang))
    split = (_split_compounds(tokens[0]), _split_compounds(tokens[1]))
    made_by = {"tokenize": "none", "sacremoses": version("sacremoses")}
    return [
        Variant("BLEU-13a", main.bleu, main.bleu_signature, "to be reported; for papers that quote this signature"),
        other("BLEU-13a-lc", "for sacreBLEU scores that ignore case (-lc)", lowercase=True),
        other("BLEU-intl", "for papers that quote a signature with tok:intl", tokenize="intl"),
        other("BLEU-tokens", "for papers that ran multi-bleu on tokens", tokens, text=f"moses-{lang}", **made_by),
        other(
            "BLEU-split",
            "for Vaswani et al. 2017 and those after it: tokens, compounds split at hyphens",
            split,
            text=f"moses-{lang}+split",
            **made_by,
        ),
    ]


def lines_of(scores: Scores, others: Sequence[Variant]) -> list[Text]:
    """What `score` and `variants` give, as lines: the scores to report, and below them the others with their labels."""
    main, *others = others
    lines = [
        Text(scores.bleu_detail, "bold"),
        Text(f"{'':<13}{main.label}"),
        Text(f"chrF2|{scores.chrf_signature} = {scores.chrf:.2f}"),
        Text("The same output scored in other ways, none of which is the BLEU above:"),
    ]
    for each in others:
        lines.append(Text(f"{each.name:<13}{each.value:6.2f}  {each.label}"))
        lines.append(Text(f"{'':<13}{each.signature}", "dim"))
    return lines


def refuse_subwords(lines: Sequence[str], what: str) -> None:
    """Refuse text whose words are still cut up; `what` names the text in the message.

    The marks of subword-nmt and WordPiece do occur in real text (`a@@ b`, `##main`), so that these count only where
    there are two or more, and one for every hundred lines.

    Raises:
        UserError: names the first line with a mark, and the mark.
    """
    found = _first_mark(lines)
    if found:
        n, mark = found
        raise UserError(
            f'{what}, line {n}, has the subword mark "{mark}": give whole words, raw text that is not tokenised'
        )


def refuse_tokenised(references: Sequence[str], what: str) -> None:
    """Refuse references that were tokenised before; `what` names them in the message.

    Raises:
        UserError: most full stops at their ends stand alone.
    """
    if _tokenised(references):
        raise UserError(
            f"{what} are tokenised, most full stops stand alone: give raw text, or no published score compares"
        )


def require_raw_text(references: Sequence[str], where: str) -> None:
    """Refuse references that no score should be made with; the message says `where` they are from.

    Raises:
        UserError: they are in subwords, or tokenised.
    """
    refuse_subwords(references, f"the references of {where}")
    refuse_tokenised(references, f"the references of {where}")


def scoring_warnings(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """Why scores of these may not mean what they seem to, a line each; it is for whoever has the scores to say so."""
    said = []
    found = _first_mark(hypotheses)
    if found:
        said.append(f'the output has subword marks, as "{found[1]}" in line {found[0]}: words are not put together')
    if _tokenised(references):
        said.append(
            "the references are tokenised (most full stops stand alone): compare these scores with each other alone"
        )
    elif _tokenised(hypotheses):
        said.append("the output is tokenised (most full stops stand alone) and the references are not")
    if empty := [n for n, line in enumerate(references, start=1) if not line.strip()]:
        said.append(f"{list_lines(empty)}: the reference is empty, and whatever is written there is wrong")
    if endless := [n for n, line in enumerate(references, start=1) if len(line) > ENDLESS]:
        said.append(
            f"{list_lines(endless)}: the reference has over {ENDLESS:,} characters, and weighs as much in the scores"
        )
    return said


def _bleu(
    hypotheses: list[str], references: list[str], tokenize: str = "13a", lowercase: bool = False, **noted: str
) -> tuple[BLEUScore, str]:
    """sacreBLEU's BLEU and its signature, with what is `noted` besides of how the text was made."""
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)  # force: `scoring_warnings` warns of tokens, once
    bleu = metric.corpus_score(hypotheses, [references])
    signature = metric.get_signature()
    for name, value in noted.items():
        signature.update(name, value)
    return bleu, str(signature)


def _moses(lines: list[str], lang: str) -> list[str]:
    from sacremoses import MosesTokenizer  # 0.2 s, which training need not wait for

    moses = MosesTokenizer(lang=lang)
    return [str(moses.tokenize(line, escape=False, return_str=True)) for line in lines]


def _split_compounds(lines: list[str]) -> list[str]:
    """A hyphenated compound as three tokens or more. In `a-b-c` the middle is used up: the second hyphen stays."""
    return [re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line) for line in lines]


def _first_mark(lines: Sequence[str]) -> tuple[int, str] | None:
    """The first line, from 1, with the mark of a subword, and the mark; None if these are words."""
    for n, line in enumerate(lines, start=1):
        if match := SENTENCEPIECE.search(line):
            return n, match[0]
    found = [(n, match[0]) for n, line in enumerate(lines, start=1) for match in SUBWORDS.finditer(line)]
    return found[0] if len(found) >= max(2, len(lines) / 100) else None


def _tokenised(lines: Sequence[str]) -> bool:
    """Whether most sentences with a full stop have a blank before it; ten such sentences are needed to tell."""
    alone = [line.endswith(" .") for line in map(str.rstrip, lines) if line.endswith(".")]
    return sum(alone) >= 10 and sum(alone) > len(alone) / 2
