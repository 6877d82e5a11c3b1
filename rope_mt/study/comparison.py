"""What a comparison over seeds finds: each group of runs against a baseline, on the test set and by source length."""

from dataclasses import dataclass, field

from sacrebleu.metrics.bleu import BLEU

from rope_mt.data.reading import read
from rope_mt.errors import UserError
from rope_mt.evaluation import bucket_name, in_buckets
from rope_mt.progress import progress
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.study.groups import Group, Spread
from rope_mt.study.shared_test_set import default_bounds, hypotheses
from rope_mt.study.significance import Difference, Pair, paired, pairs_by_seed, welch

Translations = dict[str, dict[int, list[str]]]  # the hypotheses of each run, by its group's label and its seed


@dataclass(frozen=True)
class BucketResult:
    """The sentences of one bucket of source length, in tokens without the end of the sentence."""

    low: int
    high: int | None  # None: the last bucket, which is open
    sentences: int
    bleu: dict[str, Spread]  # by label; empty without a sentence
    differences: dict[str, Difference]  # by label, without the baseline's

    @property
    def name(self) -> str:
        return bucket_name(self.low, self.high)


@dataclass(frozen=True)
class Comparison:
    """All that the tables say."""

    groups: list[Group]
    baseline: Group | None  # None: there is one group alone, and nothing to test
    sentences: int
    differences: dict[str, Difference] = field(default_factory=dict)  # by label, without the baseline's
    test_signatures: list[str] = field(default_factory=list)  # sacreBLEU's, of bootstrap and randomisation
    buckets: list[BucketResult] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    @property
    def signature(self) -> str:
        return self.groups[0].runs[0].result["test"]["bleu_signature"]


def compare(
    groups: list[Group], baseline: Group | None, src: list[str], ref: list[str], bounds: list[int] | None
) -> Comparison:
    """Test every group against the baseline, on the whole test set and in each bucket.

    Args:
        bounds: of the buckets, in tokens; None: `default_bounds`.

    Raises:
        UserError: a run's hypotheses are missing, damaged, or not those that its score is of.
    """
    hyps = {group.label: _translations(group, ref) for group in groups}
    if baseline is None:
        return Comparison(groups, None, len(ref))
    lengths, parts, cautions = _source_lengths(baseline, src), [list(range(len(ref)))], []
    if lengths is None:
        cautions.append(
            f"no table by source length: the unit is the baseline's tokens, and {_checkpoint(baseline)} is gone"
        )
    else:
        caps = [run.config["data"]["max_len"] for group in groups for run in group.runs]
        bounds = bounds or default_bounds(min(caps), max(lengths))
        parts += in_buckets(lengths, bounds)
    pairs, signatures = _pairs(groups, baseline, hyps, ref, parts)
    bleu = {group.label: group.values("bleu") for group in groups}
    whole, *of_parts = ({label: of[i] for label, of in pairs.items()} for i in range(len(parts)))
    differences = _differences(baseline, bleu, whole)
    buckets = [] if lengths is None else _buckets(baseline, hyps, ref, bounds or [], parts[1:], of_parts)
    return Comparison(groups, baseline, len(ref), differences, signatures, buckets, cautions)


def _translations(group: Group, ref: list[str]) -> dict[int, list[str]]:
    """By seed."""
    found = {}
    for run in group.runs:
        found[run.seed] = hypotheses(run)
        scored, said = _bleu(found[run.seed], ref), run.result["test"]["bleu"]
        if abs(scored - said) > 0.005:
            raise UserError(
                f"{RunFolder(run.folder).test_hyp} scores {scored:.2f} BLEU and its result.json says {said:.2f}: "
                "leave the run out, or train it again"
            )
    return found


def _checkpoint(baseline: Group) -> str:
    return str(RunFolder(baseline.runs[0].folder).average)


def _source_lengths(baseline: Group, src: list[str]) -> list[int] | None:
    """Tokens of each source by the baseline's tokenizer; None where no run of it has a checkpoint any more.

    Raises:
        UserError: the checkpoint is damaged.
    """
    there = [run.folder for run in baseline.runs if RunFolder(run.folder).average.is_file()]
    if not there:
        return None
    tokenizer = checkpoint.load(there[0]).tokenizer
    return [len(ids) for ids in read(tokenizer, src).ids]


def _pairs(
    groups: list[Group], baseline: Group, hyps: Translations, ref: list[str], parts: list[list[int]]
) -> tuple[dict[str, list[list[Pair]]], list[str]]:
    """The paired tests of each group on each part of the test set, none on an empty one; and their signatures.

    All runs that a run of the baseline is paired with are tested at once, so its own samples are drawn once.
    """
    others = [group for group in groups if group is not baseline]
    against: dict[int, list[tuple[str, int]]] = {}
    for group in others:
        for theirs, ours in pairs_by_seed(baseline.seeds, group.seeds):
            against.setdefault(theirs, []).append((group.label, ours))
    found: dict[str, list[list[Pair]]] = {group.label: [[] for _ in parts] for group in others}
    signatures: list[str] = []
    total = sum(map(bool, parts)) * sum(map(len, against.values()))
    with progress("paired tests", total, "comparisons") as advance:
        for i, part in enumerate(parts):
            for seed, systems in against.items() if part else ():
                named = [(baseline.label, seed), *systems]
                first, *rest = ([hyps[label][seed][n] for n in part] for label, seed in named)
                pairs, signatures = paired(first, rest, [ref[n] for n in part])
                for (label, _), pair in zip(systems, pairs, strict=True):
                    found[label][i].append(pair)
                advance(len(systems))
    return found, signatures


def _differences(baseline: Group, bleu: dict[str, list[float]], pairs: dict[str, list[Pair]]) -> dict[str, Difference]:
    """Each group against the baseline, from the BLEU of each seed and from the paired tests."""
    theirs = bleu[baseline.label]
    return {
        label: Difference(Spread.of(bleu[label]).mean - Spread.of(theirs).mean, of_group, welch(bleu[label], theirs))
        for label, of_group in pairs.items()
    }


def _buckets(
    baseline: Group,
    hyps: Translations,
    ref: list[str],
    bounds: list[int],
    parts: list[list[int]],
    pairs: list[dict[str, list[Pair]]],
) -> list[BucketResult]:
    found = []
    for low, high, part, of_part in zip([0, *bounds], [*bounds, None], parts, pairs, strict=True):
        bleu = {
            label: [_bleu([lines[i] for i in part], [ref[i] for i in part]) for lines in by_seed.values()]
            for label, by_seed in (hyps.items() if part else ())
        }
        spreads = {label: Spread.of(values) for label, values in bleu.items()}
        differences = _differences(baseline, bleu, of_part) if part else {}
        found.append(BucketResult(low + 1, high, len(part), spreads, differences))
    return found


def _bleu(hypotheses: list[str], references: list[str]) -> float:
    return BLEU().corpus_score(hypotheses, [references]).score
