"""Verdicts: which runs have one, against which baseline, and on which test sets together."""

import json
import math
from pathlib import Path

import pytest

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.study.compare.comparison import _of_one_domain
from rope_mt.translation.sentence_statistics import BLEU_AT, COLUMNS, SentenceStatistics

from .made_runs import REF, by_label


def test_noise_between_seeds_outweighs_what_each_pair_says(make, compared):
    rates = {"sinusoidal-add": (0.35, 0.2, 0.5), "rope": (0.2, 0.05, 0.3)}
    found = compared(*(make(scheme, i + 1, rate) for scheme, of in rates.items() for i, rate in enumerate(of)))
    bleu = {(run["label"], run["seed"]): run["bleu"] for run in found["runs"]}
    assert all(bleu["rope", seed] > bleu["sinusoidal-add", seed] for seed in (1, 2, 3))
    assert by_label(found["groups"])["rope"]["judged"]["bleu"]["verdict"] == "not told apart"


def test_one_seed_and_an_untrained_model_have_no_verdict_and_two_runs_have_paired_tests(make, capsys, compared):
    folders = [make("rope", 1, 0.05), make("sinusoidal-add", 1, 0.4), make("learned", 3, 0.05)]
    assert main(["compare", *folders, "--buckets", "99"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert ["rope", "one", "seed"] in [line.split() for line in printed.splitlines()]
    assert "one seed: no verdict" in printed
    assert "paired" not in printed
    both = compared(*folders[:2])
    assert 0 < max(both["paired_tests"].values()) < 0.05
    assert main(["compare", *folders[:2], "--baseline", "rope", "--buckets", "99"]) == 0
    printed = capsys.readouterr().out
    assert "Against rope, on 40 sentences (test)" in printed
    assert "bootstrap p = 0.0" in printed.replace("\n", " ")


@pytest.mark.parametrize("loss", [9.0, math.nan])
def test_one_run_that_did_not_learn_takes_the_verdict_of_its_own_scheme_alone(make, compared, capsys, loss):
    schemes = ("rope", "learned", "sinusoidal-add")
    folders = [make(scheme, seed, 0.1 + i / 10) for i, scheme in enumerate(schemes) for seed in (8, 9)]
    sound = by_label(compared(*folders[2:])["groups"])
    broken = RunFolder(Path(folders[0]))
    counts = SentenceStatistics.read(broken.counts("test"))
    counts.table[:, COLUMNS.index("nats")] = loss * counts.table[:, COLUMNS.index("tgt_tokens")]
    counts.table[:, BLEU_AT.start + 2 : BLEU_AT.start + 6] = 0  # no n-gram is right
    counts.write(broken.counts("test"))
    result = json.loads(broken.result.read_text())
    write_result(broken, {**result, "test": {**result["test"], "bleu": 0.0}})
    groups = by_label(compared(*folders)["groups"])
    assert groups["rope"]["says"] == "untrained"
    assert "low" not in groups["rope"]["judged"]["chrf"]
    assert groups["learned"]["judged"] == sound["learned"]["judged"]
    assert [*groups["learned"]["judged"]] == ["loss", "chrf", "bleu"]
    groups = by_label(compared(*folders, "--baseline", "rope")["groups"])
    assert {groups[label]["says"] for label in schemes[1:]} == {"baseline: untrained"}
    assert main(["compare", *folders[:4], "--baseline", "rope", "--buckets", "99"]) == 0
    assert "untrained: a run is below BLEU 5" in capsys.readouterr().out


def test_a_baseline_that_one_of_the_test_sets_lacks_is_told_before_any_table(make, capsys):
    folders = [make("rope", 1, 0.05), make("learned", 1, 0.1), make("rope", 2, 0.05), make("sinusoidal-add", 2, 0.1)]
    for folder in folders[2:]:
        run = RunFolder(Path(folder))
        run.test_ref.write_text("Anders.\n" * len(REF), encoding="utf-8")
        write_result(run, json.loads(run.result.read_text()))
    assert main(["compare", *folders, "--baseline", "learned"]) == 2
    assert capsys.readouterr().out == ""


def test_a_test_set_that_lies_beside_the_first_and_is_named_alike_is_judged_together_with_it():
    data = {"test": ["a/newstest2014"], "further_tests": ["a/newstest2015", "b/newstest2013", "a/ted"]}
    assert _of_one_domain(data, ["newstest2015", "newstest2013", "ted"]) == ["test", "newstest2015"]
    assert _of_one_domain(data, ["ted"]) == ["test"]
    tables = [f"data/text/{name}-0123abcd/{name}" for name in ("news2014", "news2015", "news_medical")]
    data = {"test": tables[:1], "further_tests": tables[1:]}
    assert _of_one_domain(data, ["news2015", "news_medical"]) == ["test", "news2015"]
