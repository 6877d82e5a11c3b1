"""Scores by length and on joined sentences, from real runs through the real command line."""

import csv
import json
import os
import shutil

import pytest
import sacrebleu

from rope_mt.cli import main
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.seal import write_result
from rope_mt.study.lengths import default_bounds, joined


def test_consecutive_lines_are_joined_and_what_is_left_over_is_left_out():
    assert joined(["a", "b", "c", "d", "e"], 2) == ["a b", "c d"]
    assert joined(["a", "b", "c"], 1) == ["a", "b", "c"]


def test_buckets_stand_around_what_was_trained_on_where_the_test_set_goes_beyond_it():
    assert default_bounds(cap=14, longest=60) == [7, 14, 21, 28, 42]
    assert default_bounds(cap=14, longest=25) == [7, 14, 21]
    assert default_bounds(cap=256, longest=45) == [10, 20, 30, 40]


@pytest.fixture
def copies(runs, tmp_path):
    """The runs in a folder that this test may write to."""
    for folder in runs.values():
        shutil.copytree(folder, tmp_path / folder.name)
    return {name: tmp_path / folder.name for name, folder in runs.items()}


def numbers(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_scores_buckets_and_joined_sentences(copies, tmp_path, capsys):
    names = [str(copies[name]) for name in ("sinusoidal-add", "rope", "rope again")]
    flags = ["--buckets", "30,50", "--joined", "1,2,8", "--out", str(tmp_path / "new" / "lengths")]
    assert main(["analyze", "lengths", *names, *flags]) == 0
    said = capsys.readouterr().out
    assert "nrefs:1|case:mixed" in said
    assert "trained on at most 40 tokens a side" in said
    found = numbers(tmp_path / "new" / "lengths.csv")
    assert len(found) == 3 * 6
    assert (tmp_path / "new" / "lengths.png").read_bytes().startswith(b"\x89PNG")

    folder = copies["rope"]
    src, ref, hyp = ((folder / f"test.{part}").read_text().splitlines() for part in ("src", "ref", "hyp"))
    lengths = [len(ids) for ids in checkpoint.load(folder).tokenizer.encode(src)]
    ours = {(row["kind"], row["name"]): row for row in found if row["run"] == str(folder)}
    for name, inside in (("1-30", lambda n: n <= 30), ("31-50", lambda n: 30 < n <= 50), (">50", lambda n: n > 50)):
        rows = [i for i, n in enumerate(lengths) if inside(n)]
        assert rows
        bleu = sacrebleu.corpus_bleu([hyp[i] for i in rows], [[ref[i] for i in rows]]).score
        assert float(ours["bucket", name]["bleu"]) == pytest.approx(bleu)
        assert int(ours["bucket", name]["sentences"]) == len(rows)
    for k in (2, 8):
        translated = (folder / f"test-joined-{k}.hyp").read_text().splitlines()
        assert len(translated) == len(src) // k
        bleu = sacrebleu.corpus_bleu(translated, [joined(ref, k)]).score
        assert float(ours["joined", str(k)]["bleu"]) == pytest.approx(bleu)
    assert float(ours["joined", "1"]["bleu"]) == pytest.approx(sacrebleu.corpus_bleu(hyp, [ref]).score)


def test_joined_translations_are_made_once_and_again_for_new_weights(copies, tmp_path):
    folder = copies["rope"]
    command = ["analyze", "lengths", str(folder), "--joined", "1,4", "--out", str(tmp_path / "lengths")]
    assert main(command) == 0
    kept = folder / "test-joined-4.hyp"
    made, translated = kept.stat().st_mtime_ns, kept.read_text()
    assert main(command) == 0
    assert kept.stat().st_mtime_ns == made
    os.utime(folder / "checkpoints" / "average.ckpt")
    assert main(command) == 0
    assert kept.stat().st_mtime_ns > made
    kept.write_text("Anders.\n" * 4)  # by somebody else
    assert main(command) == 0
    assert kept.read_text() == translated


def test_a_table_of_positions_that_ends_is_said_in_its_cell(copies, tmp_path, capsys):
    words = [str(copies["learned"]), "--joined", "1,8", "--out", str(tmp_path / "lengths")]
    assert main(["analyze", "lengths", *words]) == 0
    assert "too long" in capsys.readouterr().out
    assert not (copies["learned"] / "test-joined-8.hyp").exists()
    assert numbers(tmp_path / "lengths.csv")[-1]["bleu"] == ""
    assert main(["analyze", "lengths", words[0], "--joined", "8", *words[3:]]) == 0


def test_mistakes_are_one_line(copies, tmp_path, capsys):
    other = copies["rope again"]
    (other / "test.src").write_text((other / "test.src").read_text().replace("the", "a"))
    (other / "run.json").unlink()
    write_result(RunFolder(other), json.loads((other / "result.json").read_text()))
    for words, said in (
        ([str(copies["rope"]), str(other)], "have different test sets"),
        ([str(copies["rope"]), "--joined", "18"], "too few to join 18: lower --joined"),
        ([str(copies["rope"]), "--buckets", "20,10"], "'20,10' is not a list of rising numbers"),
        ([str(tmp_path / "nowhere")], "no such run"),
    ):
        assert main(["analyze", "lengths", *words, "--out", str(tmp_path / "lengths")]) == 2
        assert said in capsys.readouterr().err
