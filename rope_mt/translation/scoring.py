"""The one scorer, for training and eval: sacreBLEU scores, each with the signature that says how it was made.

Papers have called at least five different numbers BLEU, more than a point apart for one output. `score` gives the one
to report; `variants` gives the others too, each with what it may be compared with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rich.text import Text
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF

from rope_mt.errors import UserError


@dataclass(frozen=True)
class Scores:
    """Corpus scores from 0 to 100, each with the signature that says how it was computed."""

    bleu: float
    bleu_signature: str
    bleu_detail: str  # precisions, brevity penalty and lengths, in sacreBLEU's form
    chrf: float
    chrf_signature: str


@dataclass(frozen=True)
class Variant:
    """One of several corpus scores, 0 to 100, of the same output, and what it may be compared with."""

    name: str
    value: float
    signature: str
    label: str


def score(hypotheses: list[str], references: list[str]) -> Scores:
    """BLEU (13a, cased) and chrF2 of raw, detokenised text; raw_text.py says whether it is.

    Raises:
        UserError: there are not as many hypotheses as references.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    bleu, signature = _bleu(hypotheses, references)
    metric = CHRF()
    chrf = metric.corpus_score(hypotheses, [references])
    detail = bleu.format(signature=signature)
    return Scores(bleu.score, signature, detail, chrf.score, str(metric.get_signature()))


def variants(hypotheses: list[str], references: list[str], lang: str = "de") -> list[Variant]:
    """The scores that papers report of one output of raw, detokenised text; the first is the BLEU of `score`.

    Tokenised BLEU is multi-bleu.perl's, except for smoothing where no 4-gram matches. Tokens are those of Moses'
    tokenizer.perl, in the form of fairseq's scripts, with its rules for `lang`; tensor2tensor's scripts also made the
    quotation marks of the references straight first. Splitting compounds: fairseq's compound_split_bleu.sh.
    """
    raw = hypotheses, references
    tokens = _moses(hypotheses, lang), _moses(references, lang)
    split = _split_compounds(tokens[0]), _split_compounds(tokens[1])
    moses = {"text": f"moses-{lang}", "tokenize": "none", "sacremoses": version("sacremoses")}
    vaswani = "for Vaswani et al. 2017 and those after it: tokens, compounds split at hyphens"

    def variant(name: str, label: str, sides: tuple[list[str], list[str]], **settings: Any) -> Variant:
        bleu, signature = _bleu(*sides, **settings)
        return Variant(name, bleu.score, signature, label)

    return [
        variant("BLEU-13a", "to be reported; for papers that quote this signature", raw),
        variant("BLEU-13a-lc", "for sacreBLEU scores that ignore case (-lc)", raw, lowercase=True),
        variant("BLEU-intl", "for papers that quote a signature with tok:intl", raw, tokenize="intl"),
        variant("BLEU-tokens", "for papers that ran multi-bleu on tokens", tokens, **moses),
        variant("BLEU-split", vaswani, split, **{**moses, "text": f"moses-{lang}+split"}),
    ]


def score_lines(scores: Scores, variants: Sequence[Variant]) -> list[Text]:
    """Lines for the terminal: the scores to report, and below them the other variants with their labels."""
    main, *others = variants
    lines = [
        Text(scores.bleu_detail, "bold"),
        Text(f"{'':<13}{main.label}"),
        Text(f"chrF2|{scores.chrf_signature} = {scores.chrf:.2f}"),
        Text("The same output scored in other ways, none of which is the BLEU above:"),
    ]
    for variant in others:
        lines.append(Text(f"{variant.name:<13}{variant.value:6.2f}  {variant.label}"))
        lines.append(Text(f"{'':<13}{variant.signature}", "dim"))
    return lines


def _bleu(
    hypotheses: list[str], references: list[str], tokenize: str = "13a", lowercase: bool = False, **notes: str
) -> tuple[BLEUScore, str]:
    """sacreBLEU's BLEU and its signature; `notes` are added to the signature."""
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)  # raw_text.py warns of tokens instead
    bleu = metric.corpus_score(hypotheses, [references])
    signature = metric.get_signature()
    for name, value in notes.items():
        signature.update(name, value)
    return bleu, str(signature)


def _moses(lines: list[str], lang: str) -> list[str]:
    from sacremoses import MosesTokenizer  # takes 0.2 s, which training need not wait for

    moses = MosesTokenizer(lang=lang)
    return [str(moses.tokenize(line, escape=False, return_str=True)) for line in lines]


def _split_compounds(lines: list[str]) -> list[str]:
    """Split hyphenated compounds into tokens. In `a-b-c` the first match consumes the b: the second hyphen stays."""
    return [re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line) for line in lines]
