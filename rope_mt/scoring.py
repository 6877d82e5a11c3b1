"""sacreBLEU scores with their signatures: the one scorer, for training, eval and compare."""

from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.bleu import BLEU
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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score(hypotheses: list[str], references: list[str]) -> Scores:
    """BLEU (13a, cased) and chrF2 of raw, detokenised text.

    Raises:
        UserError: there are not as many hypotheses as references.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(hypotheses, [references])
    chrf_score = chrf.corpus_score(hypotheses, [references])
    return Scores(
        bleu_score.score,
        str(bleu.get_signature()),
        bleu_score.format(signature=str(bleu.get_signature())),
        chrf_score.score,
        str(chrf.get_signature()),
    )
