"""The report of a comparison: its figures, that no text becomes markup, and that it names nothing outside."""

import json
import shutil
from pathlib import Path
from statistics import fmean, stdev

import yaml

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.study.charts import Line
from rope_mt.study.compare.compare import compared
from rope_mt.study.finished_runs import Point
from rope_mt.study.report import charts
from rope_mt.study.report.samples import texts, translations
from rope_mt.system.plots import look

from .conftest import EVIL, Page

NAN = float("nan")


def test_the_tables_hold_the_figures_of_the_runs(page, written, finished):
    results = [json.loads((folder / "result.json").read_text()) for folder in finished]
    tested, trained = page.rows("BLEU (more is better)"), page.rows("At the end of training")
    for group in written[1]["groups"]:
        losses = [result["valid"]["loss"] for result in results if result["position"] == group["label"]]
        sd = f" ± {stdev(losses):.3f}" if len(losses) > 1 else ""
        assert trained[group["label"]]["valid loss"] == f"{fmean(losses):.3f}{sd}"
        row, judged = tested[group["label"]], group["judged"]["bleu"]
        assert (row["mean"], row["verdict"]) == (f"{judged['mean']:.2f}", judged["verdict"])
        if "low" in judged:
            assert row["95 % interval"] == f"{judged['low']:+.2f} to {judged['high']:+.2f}"
        if group["says"]:
            assert group["says"] in page.text["strong"]
    head, *rows = page.tables["Run by run"]
    bleu = {(row[0], row[1]): row[head.index("BLEU")] for row in rows}
    assert bleu == {(run["position"], str(run["seed"])): f"{run['test']['bleu']:.2f}" for run in results}
    lengths = page.rows("Difference in BLEU by source length in tokens")
    for bucket in written[1]["buckets"]:
        assert lengths["sentences"][bucket["name"]] == str(bucket["sentences"])
    assert lengths["rope"][">500"] == "-"


def test_text_of_runs_never_becomes_markup(page):
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.open == []
    assert EVIL in "".join(page.text["dd"])
    assert page.rows("What is shared")["device"]["value"] == EVIL
    languages = {attrs["lang"] for tag, attrs in page.tags if tag == "dd" and "lang" in attrs}
    assert languages == {'en" onclick="alert(3)', "de"}


def test_nothing_outside_of_the_file_is_named(page):
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data", "background"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert "url(" not in (attrs.get("style") or "")
    [style] = page.text["style"]
    assert "url(" not in style
    assert "@import" not in style
    policies = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv")]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; ")
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"][1:] for tag, attrs in page.tags if tag == "a"} <= targets


def test_what_a_run_has_lost_is_left_out_with_a_line(page, finished):
    metrics = f"{finished[-1]}/metrics.jsonl, line 1, is damaged: leave the run out, or train it again"
    lines = page.text["li"]
    assert f"no tokens to a loss: {metrics}" in lines
    assert f"no curves: {metrics}" in lines
    descriptions = page.text["desc"]
    assert sum("sinusoidal-add, seed 2 ends at" in line and EVIL not in line for line in descriptions) == 3


def test_a_chart_says_where_its_lines_end_and_is_the_same_each_time():
    lines = [Line("a, seed 1", "a", [Point(1, 1_000, 3.0), Point(2, 2_000, 4.25)], look(0))]
    lines.append(Line("$b$ <i>", "$b$ <i>", [Point(1, 1_000, NAN)], look(6)))
    chart = charts._chart("Loss & more", lines, logarithmic=True)
    assert chart == charts._chart("Loss & more", lines, logarithmic=True)
    svg = Page(chart)
    assert svg.text["desc"] == ["a, seed 1 ends at 4.25; $b$ <i> has no number"]
    assert svg.text["figcaption"] == svg.text["title"] == ["Loss & more"]
    assert {"a", "$b$ <i>"} <= {*svg.text["text"]}
    assert [attrs["aria-label"] for tag, attrs in svg.tags if tag == "svg"] == ["Loss & more"]
    assert "#000000" not in chart  # ink has the colour of the page's text, also on dark paper


def test_without_text_or_translations_a_line_stands_in_their_place(finished, tmp_path):
    for name, message in (("test.hyp", "No translations: "), ("test.ref", "the text of the test set is not there")):
        run = shutil.copytree(finished[-1], tmp_path / name, symlinks=True)
        (run / name).unlink()
        html = translations(compared([run]))
        assert message in html
        assert name in html


def test_the_text_of_a_record_is_read_where_it_was_trained_from_while_it_is_the_same(runs, tmp_path):
    skipped = shutil.ignore_patterns("checkpoints", "test.src", "test.ref", "run.json")
    record = RunFolder(shutil.copytree(runs["rope"], tmp_path / "record", ignore=skipped))
    config = yaml.safe_load(record.config.read_text())
    moved = [shutil.copy(f"{config['data']['test'][0]}.{lang}", tmp_path / f"moved.{lang}") for lang in ("en", "de")]
    config["data"]["test"] = [str(tmp_path / "moved")]
    record.config.write_text(yaml.safe_dump(config))
    write_result(record, json.loads(record.result.read_text()))
    comparison = compared([record.path])
    assert "<h3>sentence " in translations(comparison)
    config["trainer"]["test_sentences"] = 9
    record.config.write_text(yaml.safe_dump(config))
    write_result(record, json.loads(record.result.read_text()))
    assert len(texts(compared([record.path]).runs)[1]) == 9
    with open(moved[0], "a") as file:
        file.write("one more\n")
    assert "moved is another text now." in translations(comparison)
    Path(moved[0]).unlink()
    assert "no such text: " in translations(comparison)


def test_the_commands_are_those_that_were_typed(finished, page):
    pre = "\n".join(page.text["pre"])
    train = "rope-mt train position=rope"
    assert pre.startswith(f"{train} seed=1\n{train} seed=2\nrope-mt compare \\\n")
    assert "--buckets 20,500 --html" in pre
    assert f"No command is recorded for {finished[-1]}." in page.text["li"]
    assert f"sacrebleu {finished[0]}/test.ref -i {finished[0]}/test.hyp -m bleu chrf" in pre


def test_one_run_alone_and_runs_without_tests_have_reports_too(finished, tmp_path):
    for words in ([str(finished[-1])], [*map(str, finished[-2:]), "--runs"]):
        assert main(["compare", *words, "--html", str(tmp_path / "b.html")]) == 0
        page = Page((tmp_path / "b.html").read_text(encoding="utf-8"))
        assert "length-of-the-source" not in {attrs.get("id") for _, attrs in page.tags}
        assert len([line for line in page.text["h3"] if line.startswith("sentence ")]) == 6
