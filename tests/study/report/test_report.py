"""The report of a comparison: its figures, that no text becomes markup, and that it names nothing outside."""

import json
import shutil
from pathlib import Path
from statistics import fmean, stdev

import yaml

from rope_mt.cli.main import main
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result


def test_the_tables_hold_the_figures_of_the_runs(page, written, finished):
    results = [json.loads((folder / "result.json").read_text()) for folder in finished]
    tested, trained = page.rows("Test set, 17 sentences"), page.rows("At the end of training")
    for group in written[1]["groups"]:
        of_group = [result for result in results if result["position"] == group["label"]]

        def shown(values: list[float], digits: int) -> str:
            return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")

        row, test = tested[group["label"]], group["test"]
        assert row["BLEU"] == shown([result["test"]["bleu"] for result in of_group], 2)
        assert row["chrF"] == shown([result["test"]["chrf"] for result in of_group], 2)
        assert trained[group["label"]]["valid loss"] == shown([result["valid"]["loss"] for result in of_group], 3)
        if test:
            assert row["Δ BLEU"] == f"{test['delta_bleu']:+.2f}"
            assert row["p ar"] == f"{test['p_randomisation']:.4f}"
            assert row["verdict"].startswith(test["verdict"])
    head, *rows = page.tables["Run by run"]
    bleu = {(row[0], row[1]): row[head.index("BLEU")] for row in rows}
    assert bleu == {(run["position"], str(run["seed"])): f"{run['test']['bleu']:.2f}" for run in results}
    lengths = page.rows("Difference in BLEU from the baseline, by source length in tokens")
    assert [lengths["sentences"][bucket["name"]] for bucket in written[1]["buckets"]] == [
        str(bucket["sentences"]) for bucket in written[1]["buckets"]
    ]
    assert lengths["rope"][">500"] == "-"


def test_text_of_runs_never_becomes_markup(page, evil):
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.open == []
    assert evil in "".join(page.text["dd"])
    assert page.rows("What is shared")["device"]["value"] == evil
    assert {attrs["lang"] for tag, attrs in page.tags if tag == "dd" and "lang" in attrs} == {
        'en" onclick="alert(3)',
        "de",
    }


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


def test_what_a_run_has_lost_is_left_out_with_a_line(page, finished, evil):
    metrics = f"{finished[-1]}/metrics.jsonl, line 1, is damaged: leave the run out, or train it again"
    lines = page.text["li"]
    assert f"no tokens to a loss: {metrics}" in lines
    assert f"no curves: {metrics}" in lines
    assert f"{evil}: no attention was measured, as {finished[-1]}/checkpoints/average is gone" in lines
    descriptions = page.text["desc"]
    assert sum("sinusoidal-add, seed 2 ends at" in line and evil not in line for line in descriptions) == 3
    head, *rows = page.tables["Mean distance of attention by layer, in tokens"]
    stacks = [f"{stack} {layer}" for stack in ("encoder", "decoder") for layer in ("1", "2", "if uniform")]
    assert head == ["scheme", *stacks]
    assert [row[0] for row in rows] == ["sinusoidal-add", "rope"]


def test_the_bound_is_drawn_where_there_is_a_product_of_queries_and_keys_to_bound(runs, tmp_path):
    for name, drawn in (("rope", True), ("linear", False)):
        assert main(["compare", str(runs[name]), "--html", str(tmp_path / "c.html")]) == 0
        page = (tmp_path / "c.html").read_text(encoding="utf-8")
        assert ("s relative bound on q·k</" in page) == drawn, name


def test_without_text_or_translations_a_line_stands_in_their_place(finished, parse, tmp_path):
    for name, said in (("test.hyp", "No translations: "), ("test.ref", "No translations and no attention: the text")):
        run = shutil.copytree(finished[0], tmp_path / name, symlinks=True)
        (run / name).unlink()
        assert main(["compare", str(run), "--html", str(tmp_path / "c.html")]) == 0
        page = parse((tmp_path / "c.html").read_text(encoding="utf-8"))
        [line] = [line for line in page.text["li"] if line.startswith("No translations")]
        assert line.startswith(said)
        assert name in line


def test_the_text_of_a_record_is_read_where_it_was_trained_from_while_it_is_the_same(finished, runs, parse, tmp_path):
    left_out = shutil.ignore_patterns("checkpoints", "test.src", "test.ref", "run.json")
    record = shutil.copytree(runs["rope"], tmp_path / "record", ignore=left_out)
    config = yaml.safe_load((record / "config.yaml").read_text())
    there = config["data"]["test"][0]
    moved = [shutil.copy(f"{there}.{lang}", tmp_path / f"moved.{lang}") for lang in ("en", "de")]
    config["data"]["test"] = [str(tmp_path / "moved")]
    (record / "config.yaml").write_text(yaml.safe_dump(config))
    write_result(RunFolder(record), json.loads((record / "result.json").read_text()))
    for said in ("", "moved is another text now.", "no such text: "):
        assert main(["compare", str(record), "--html", str(tmp_path / "d.html")]) == 0
        page = parse((tmp_path / "d.html").read_text(encoding="utf-8"))
        lines = [line for line in page.text["li"] if line.startswith("No translations")]
        shown = [line for line in page.text["h3"] if line.startswith("sentence ")]
        assert bool(shown) == (not said) == (not lines)
        assert all(said in line for line in lines)
        assert "The references are not beside these runs, so sacreBLEU's own command is not told." in page.text["p"]
        if said == "":
            with open(moved[0], "a") as file:
                file.write("one more\n")
        else:
            Path(moved[0]).unlink(missing_ok=True)


def test_one_run_alone_and_runs_without_tests_have_reports_too(finished, parse, tmp_path, capsys):
    for words in ([str(finished[0])], [*map(str, finished[1:3]), "--runs"]):
        assert main(["compare", *words, "--html", str(tmp_path / "b.html")]) == 0
        page = parse((tmp_path / "b.html").read_text(encoding="utf-8"))
        assert "lengths" not in {attrs.get("id") for _, attrs in page.tags}
        shown = [line.partition(", ")[2] for line in page.text["h3"] if line.startswith("sentence ")]
        assert {*shown} == {"drawn at random"}
    assert main(["compare", str(finished[0]), "--html", "a.htm"]) == 2
    assert "'a.htm' does not end in .html" in capsys.readouterr().err
