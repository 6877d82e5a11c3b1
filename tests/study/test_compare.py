"""Comparisons over seeds through the real command line: what it computes, what it refuses, and its forms."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from rope_mt.cli.main import main
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import read_result, write_result
from rope_mt.study.compare.groups import Group, choose_baseline
from rope_mt.study.compare.intervals import intervals
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.system.manifest import write_manifest
from rope_mt.translation.sentence_statistics import SentenceStatistics

from .made_runs import REF, SRC, by_label, without_words


def test_groups_are_means_and_sample_deviations_of_their_runs_in_every_form(make, compared, capsys):
    folders = [make("rope", 2, 0.05), make("sinusoidal-add", 1, 0.4), make("rope", 1, 0.07)]
    folders += [make("sinusoidal-add", 2, 0.41), make("sinusoidal-add", 5, 0.38)]
    found = compared(*folders)
    groups = by_label(found["groups"])
    assert {label: group["seeds"] for label, group in groups.items()} == {"rope": [1, 2], "sinusoidal-add": [1, 2, 5]}
    for label, group in groups.items():
        for name in ("bleu", "chrf", "valid_loss", "tokens_seen"):
            values = [run[name] for run in found["runs"] if run["label"] == label]
            assert len(values) == len(group["seeds"])
            assert group[name]["mean"] == pytest.approx(fmean(values))
            assert group[name]["sd"] == pytest.approx(stdev(values))
    values = {label: [run["bleu"] for run in found["runs"] if run["label"] == label] for label in groups}
    judged = groups["rope"]["judged"]["bleu"]
    assert judged["mean"] == pytest.approx(fmean(values["rope"]))
    assert judged["difference"] == pytest.approx(fmean(values["rope"]) - fmean(values["sinusoidal-add"]))
    [seeds_alone] = intervals([values["rope"]], values["sinusoidal-add"])
    width = seeds_alone.high - seeds_alone.low  # sentences can only add to it: a covariance below 0 counts as 0
    assert judged["high"] - judged["low"] >= width * (1 - 1e-9)
    assert (judged["low"] + judged["high"]) / 2 == pytest.approx(judged["difference"])
    assert groups["sinusoidal-add"]["judged"]["bleu"]["verdict"] == "baseline"
    words = [len(BLEU().tokenizer(line).split()) for line in REF]
    kept = [len(BLEU().tokenizer(line).split()) for line in without_words(0.05, 2)]
    kept_too = [len(BLEU().tokenizer(line).split()) for line in without_words(0.07, 1)]
    assert groups["rope"]["length_ratio"] == pytest.approx((sum(kept) + sum(kept_too)) / 2 / sum(words))
    assert (judged["verdict"], found["judged_on"], found["paired_tests"]) == ("better", ["test"], None)

    assert main(["compare", *folders, "--csv", "--buckets", "99"]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    for row in rows[:2]:
        group = groups[row["label"]]
        assert (row["row"], float(row["bleu.mean"])) == ("group", group["bleu"]["mean"])
        assert float(row["valid_loss.sd"]) == group["valid_loss"]["sd"]
        assert float(row["judged.chrf.mean"]) == group["judged"]["chrf"]["mean"]
        assert row["judged.bleu.high"] == str(group["judged"]["bleu"].get("high", ""))
    for row, run in zip(rows[2:], found["runs"], strict=True):
        assert (row["row"], row["folder"], float(row["bleu.mean"])) == ("run", run["folder"], run["bleu"])

    assert main(["compare", *folders, "--markdown", "--buckets", "25"]) == 0
    parts = capsys.readouterr().out.split("\n\n")
    table = parts[parts.index("BLEU (more is better):") + 1]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    for line in lines:
        cells, of_group = dict(zip(head, line, strict=True)), groups[line[0]]["judged"]["bleu"]
        assert (cells["mean"], cells["verdict"]) == (f"{of_group['mean']:.2f}", of_group["verdict"])
        if "low" in of_group:
            assert cells["difference"] == f"{of_group['difference']:+.2f}"
            assert cells["95 % interval"] == f"{of_group['low']:+.2f} to {of_group['high']:+.2f}"
            assert cells["people"] == f"{of_group['human_agreement']:.0f} %"
    sentences = f"| sentences | {' | '.join(str(bucket['sentences']) for bucket in found['buckets'])} |"
    assert any(sentences in part for part in parts)
    assert any(found["signature"] in part for part in parts)


def test_buckets_share_out_the_sentences_and_are_scored_as_sacrebleu_does(make, compared, runs):
    folders = [make("sinusoidal-add", 1, 0.3), make("rope", 1, 0.1), make("rope", 2, 0.2)]
    found = compared(*folders)
    assert sum(bucket["sentences"] for bucket in found["buckets"]) == len(SRC)
    lengths = [len(ids) for ids in checkpoint.load(runs["sinusoidal-add"]).tokenizer.encode(SRC)]
    for bucket, inside in zip(found["buckets"], (lambda n: n <= 25, lambda n: n > 25), strict=True):
        rows = [i for i, n in enumerate(lengths) if inside(n)]
        assert bucket["sentences"] == len(rows) > 0

        def bleu(rate: float, seed: int, rows: list[int] = rows) -> float:
            hyp = without_words(rate, seed)
            return sacrebleu.corpus_bleu([hyp[i] for i in rows], [[REF[i] for i in rows]]).score

        assert bucket["bleu"]["sinusoidal-add"]["mean"] == pytest.approx(bleu(0.3, 1))
        assert bucket["bleu"]["rope"]["mean"] == pytest.approx(fmean([bleu(0.1, 1), bleu(0.2, 2)]))
    for folder in map(Path, folders):  # a record has no text and no weights
        for file in (folder / "checkpoints" / "average", folder / "test.src", folder / "test.ref"):
            file.unlink()
    assert compared(*folders) == found


def test_the_baseline_is_the_one_with_consecutive_positions_where_there_is_one(make):
    run = FinishedRun.read(Path(make("sinusoidal-add", 1, 0.1)))
    assert run is not None
    shifted = replace(run, config={**run.config, "positions": {"name": "shifted", "reach": 500, "eval": "consecutive"}})
    groups = [Group("shifted", [shifted]), Group("consecutive", [run])]
    assert choose_baseline(groups, None).label == "consecutive"
    assert choose_baseline(groups[:1], None).label == "shifted"


def test_runs_of_a_scheme_with_other_settings_are_a_row_of_their_own(make, compared):
    folders = [make("rope", seed, 0.1, f"{norm}-{seed}", norm=norm) for norm in ("post", "pre") for seed in (1, 2)]
    again = make("rope", 2, 0.1, "again", norm="pre")
    found = compared(*folders, again)
    groups = {group["label"]: group["seeds"] for group in found["groups"]}
    assert groups == {"rope norm=post": [1, 2], "rope norm=pre": [1, 2]}
    assert any(line.startswith(f"warning: skipped {again}: ") for line in found["warnings"])
    assert "warning: runs differ in model.norm: post and pre" in found["warnings"]
    assert found["groups"][1]["judged"]["bleu"]["verdict"] == "not told apart"


@pytest.mark.parametrize(
    ("precisions", "expected"),
    [
        ({("rope", 2): "bf16", ("learned", 2): "bf16"}, {"rope": [1, 2], "learned": [1, 2]}),
        ({("rope", 2): "bf16"}, {"rope precision=fp32": [1], "rope precision=bf16": [2], "learned": [1, 2]}),
    ],
    ids=["in all runs of a seed", "in one of them"],
)
def test_another_precision_tells_runs_apart_unless_all_of_a_seed_have_it(make, compared, precisions, expected, capsys):
    folders = []
    for scheme, seed in (("rope", 1), ("rope", 2), ("learned", 1), ("learned", 2)):
        folders.append(make(scheme, seed, 0.1))
        rewrite(folders[-1], precision=precisions.get((scheme, seed), "fp32"))
    found = compared(*folders)
    assert {group["label"]: group["seeds"] for group in found["groups"]} == expected
    assert "warning: runs differ in precision: fp32 and bf16" in found["warnings"]
    assert main(["compare", *folders, "--markdown", "--buckets", "99"]) == 0
    rows = capsys.readouterr().out.partition("| tokens/s |")[2].splitlines()[2 : 2 + len(expected)]
    speeds = [line.split("|")[7].strip() for line in rows]
    in_one_row = len(precisions) == 2
    assert {speed == "several" for speed in speeds} == {in_one_row}


def rewrite(folder: str, **changes: object) -> dict:
    """Change a run's result; return what it was."""
    run = RunFolder(Path(folder))
    result = json.loads(run.result.read_text())
    write_result(run, {**result, **changes})
    return result


def test_two_processes_make_other_updates_than_one_and_are_a_row_of_their_own(make, compared):
    folders = [make("rope", seed, 0.1) for seed in (1, 2)]
    rewrite(folders[1], processes=2)
    groups = {group["label"]: group["seeds"] for group in compared(*folders)["groups"]}
    assert groups == {"rope processes=1": [1], "rope processes=2": [2]}


def test_it_warns_of_other_code_of_skipped_updates_and_of_more_tokens(make, compared):
    folders = [make("rope", 1, 0.1), make("rope", 2, 0.1, tokens=1_009_000)]
    found = compared(*folders)
    assert found["baseline"] is None
    assert found["warnings"] == []
    before = rewrite(folders[1], tokens_seen=1_011_000, commit="0000000", device="an abacus", skipped_updates=2)
    rewrite(folders[1], code={**before["code"], "position/rotary.py": "00000000"})
    assert compared(*folders)["warnings"] == [
        "warning: runs were made with other code: rope_mt/position/rotary.py",
        f"warning: runs were made with another device: {before['device']} and an abacus",
        "warning: runs differ in tokens seen: from 1,000,000 to 1,011,000",
        f"warning: {folders[1]} skipped 2 of 3 updates: loss or gradient was not finite",
    ]
    rewrite(folders[1], versions={**before["versions"], "torch": "2.0.1"})
    torch = f"another versions.torch: {before['versions']['torch']} and 2.0.1"
    assert f"warning: runs were made with {torch}" in compared(*folders)["warnings"]
    rewrite(folders[0], code={}, commit="0123456789" * 4 + "+")
    assert "warning: runs were made with another commit: 01234567+ and 0000000" in compared(*folders)["warnings"]


def test_further_tests_that_all_runs_have_are_compared_as_the_test_set_is(make, compared, capsys):
    rates = {("sinusoidal-add", seed): 0.4 for seed in (1, 2, 3)} | {("rope", seed): 0.05 for seed in (1, 2, 3)}
    folders = []
    for (scheme, seed), rate in rates.items():
        run = RunFolder(Path(make(scheme, seed, 0.2)))
        folders.append(str(run.path))
        for name in ("other", "alone") if scheme == "rope" else ("other",):
            hyp = without_words(rate, seed)
            SentenceStatistics.of([9] * len(hyp), hyp, REF).write(run.counts(name))
            result = read_result(run)
            result["further_tests"][name] = {"bleu": sacrebleu.corpus_bleu(hyp, [REF]).score}
            write_result(run, result)
    found = compared(*folders)
    other = found["tests"][1]
    assert (other["name"], other["sentences"]) == ("other", len(REF))
    bleu = {key: sacrebleu.corpus_bleu(without_words(rate, key[1]), [REF]).score for key, rate in rates.items()}
    for scheme in ("sinusoidal-add", "rope"):
        values = [bleu[scheme, seed] for seed in (1, 2, 3)]
        assert other["bleu"][scheme]["mean"] == pytest.approx(fmean(values))
        assert other["bleu"][scheme]["sd"] == pytest.approx(stdev(values))
    assert found["judged_on"] == ["test"]  # it does not lie beside the test set
    assert found["warnings"] == ["not all runs have a score on the same alone, which is skipped"]
    assert main(["compare", "--runs", *folders]) == 0
    rows = [line.split() for line in capsys.readouterr().out.partition("Additional test sets")[2].splitlines()]
    assert rows[2:8] == [[scheme, str(seed), f"{score:.2f}"] for (scheme, seed), score in bleu.items()]

    result = json.loads((Path(folders[0]) / "result.json").read_text())
    result["text"]["further_tests.other"] = "another text"
    write_result(RunFolder(Path(folders[0])), result)
    found = compared(*folders)
    assert [test["name"] for test in found["tests"]] == ["test"]
    assert [group["seeds"] for group in found["groups"]] == [[1, 2, 3], [1, 2, 3]]
    assert [line for line in found["warnings"] if "skipped" in line] == [
        f"not all runs have a score on the same {name}, which is skipped" for name in ("other", "alone")
    ]


def test_tokens_to_the_last_loss_of_the_baseline_are_told_run_by_run(make, compared, capsys):
    curves = {
        ("sinusoidal-add", 1): {1_000_000: 4.0, 2_000_000: 3.0},
        ("sinusoidal-add", 2): {1_000_000: 4.0, 2_000_000: 2.0},
        ("rope", 1): {1_000_000: 3.5, 2_000_000: 2.5},
        ("rope", 2): {1_000_000: 3.5, 2_000_000: 2.5},
        ("learned", 1): {1_000_000: 5.0, 2_000_000: 4.0},
    }
    folders = []
    for (scheme, seed), losses in curves.items():
        folder = Path(make(scheme, seed, 0.2))
        folders.append(str(folder))
        rows = [{"step": i, "tokens": tokens, "valid/loss": loss} for i, (tokens, loss) in enumerate(losses.items())]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rewrite(str(folder))
    found = compared(*folders)["tokens_to_baselines_last_loss"]
    assert found == {"sinusoidal-add": [None, 1.75e6], "rope": [2e6, 2e6], "learned": [None]}
    assert main(["compare", *folders]) == 0
    table = capsys.readouterr().out.partition("\nTraining\n")[2].partition("\n\n")[0]
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert rows["scheme"].endswith("to its loss")
    for label, printed in (("sinusoidal-add", "baseline"), ("rope", "2.00 M"), ("learned", "not reached")):
        assert rows[label].endswith(printed)
    (folder / "metrics.jsonl").unlink()
    [line] = [line for line in compared(*folders)["warnings"] if "tokens to a loss" in line]
    assert line.startswith(f"no tokens to a loss: cannot read {folder}/metrics.jsonl")


def test_a_single_run_and_runs_side_by_side_are_a_row_each_and_have_a_figure(make, tmp_path, capsys):
    folders = [make("rope", 4, 0.1), make("sinusoidal-add", 6, 0.2)]
    for words, seeds in ((folders[:1], ["4"]), ([*folders, "--runs"], ["4", "6"])):
        assert main(["compare", *words, "--plot", str(tmp_path / "new" / "a.png")]) == 0
        assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
        printed = capsys.readouterr().out
        assert [line.split()[1] for line in printed.splitlines()[2 : len(seeds) + 2]] == seeds
        assert "verdict" not in printed
        assert "nrefs:1|case:mixed" in printed


def test_mistakes_are_one_line(make, tmp_path, capsys):
    whole = make("sinusoidal-add", 1, 0.2)

    def broken(name: str, file: str, lines: list[str] | None) -> str:
        run = RunFolder(shutil.copytree(whole, tmp_path / name, symlinks=True))
        (run.path / file).unlink()
        if lines is not None:
            (run.path / file).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        write_result(run, json.loads(run.result.read_text()))
        return str(run.path)

    def with_tests(name: str, further: object) -> str:
        run = RunFolder(shutil.copytree(whole, tmp_path / name, symlinks=True))
        write_manifest(run.result, {**json.loads(run.result.read_text()), "further_tests": further})
        return str(run.path)

    other_ref = broken("other-ref", "test.ref", [*REF[:-1], "Anders."])
    rows = RunFolder(Path(whole)).counts("test").read_text().splitlines()
    for words, message in (
        ([whole, other_ref, "--json"], f"{whole} and {other_ref} have different test sets (test.ref)"),
        ([whole, broken("other-src", "test.src", ["Other.", *SRC[1:]]), "--csv"], "different test sets (test.src)"),
        ([broken("no-counts", "test.counts", None)], "cannot read"),
        ([broken("short", "test.counts", rows[:-1])], "short/test.counts makes"),
        ([broken("changed", "test.counts", rows[1:])], "changed/test.counts is damaged"),
        ([with_tests("no-tests", None)], "no-tests/result.json is not the result of a run"),
        ([with_tests("no-file", {"x": {"bleu": 4}})], "cannot read"),
        ([whole, "--baseline", "rop"], "--baseline 'rop' is none of the groups: take one of 'sinusoidal-add'"),
        ([whole, "--json", "--csv"], "not allowed with argument --json"),
        ([whole, "--plot", "a.pdf"], "'a.pdf' does not end in .png"),
        ([whole, "--html", "a.htm"], "'a.htm' does not end in .html"),
        ([whole, "--buckets", "9,3"], "'9,3' is not a list of rising numbers"),
        ([], "the following arguments are required: RUN"),
        ([str(tmp_path / "nowhere")], "no such run"),
    ):
        assert main(["compare", *words]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err
        assert printed.err.count("\n") == 1


def test_runs_with_different_test_sets_have_a_table_each(make, capsys):
    folders = [make("rope", 1, 0.1), make("sinusoidal-add", 1, 0.3), make("rope", 2, 0.2)]
    run = RunFolder(Path(folders[2]))
    run.test_ref.write_text("Anders.\n" * len(REF), encoding="utf-8")
    result = json.loads(run.result.read_text())
    del result["files"]
    write_result(run, {**result, "test_set": "another set"})
    assert main(["compare", *folders]) == 0
    first, _, second = capsys.readouterr().out.partition("another set")
    assert ("rope" in first, "sinusoidal-add" in first) == (True, True)
    assert ("rope" in second, "sinusoidal-add" in second) == (True, False)
