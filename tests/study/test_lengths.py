"""Scores by length and on joined sentences, from real runs through the real command line."""

import csv
import json
import shutil

import pytest
import sacrebleu

from rope_mt.cli.main import main
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.training.train import train
from rope_mt.translation.test_sets import join_lines

from .conftest import settings


def test_consecutive_lines_are_joined_and_what_is_left_over_is_left_out():
    assert join_lines(["a", "b", "c", "d", "e"], 2) == ["a b", "c d"]
    assert join_lines(["a", "b", "c"], 1) == ["a", "b", "c"]


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
    assert said.count("BLEU of so many test sentences joined, without its brevity penalty\n") == 1
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
        bleu = sacrebleu.corpus_bleu(translated, [join_lines(ref, k)])
        assert float(ours["joined", str(k)]["bleu"]) == pytest.approx(bleu.score)
        assert float(ours["joined", str(k)]["bleu without brevity penalty"]) == pytest.approx(bleu.score / bleu.bp)
    assert float(ours["joined", "1"]["bleu"]) == pytest.approx(sacrebleu.corpus_bleu(hyp, [ref]).score)


def test_joined_translations_are_made_once_and_belong_to_the_result(copies, tmp_path, capsys):
    folder = copies["rope"]
    command = ["analyze", "lengths", str(folder), "--joined", "1,4", "--out", str(tmp_path / "lengths")]
    assert main(command) == 0
    kept = folder / "test-joined-4.hyp"
    made = kept.stat().st_mtime_ns
    first = numbers(tmp_path / "lengths.csv")
    (folder / "checkpoints" / "average.ckpt").unlink()  # nothing is left that could translate
    (folder / "test.ref").unlink()
    assert main(command) == 0
    assert kept.stat().st_mtime_ns == made
    assert numbers(tmp_path / "lengths.csv") == first
    assert main([*command[:3], "--joined", "1,2,4,8"]) == 2
    assert f"{folder} has no translations for --joined 2,8, and no weights" in capsys.readouterr().err
    scores = json.loads((folder / "result.json").read_text())["further_tests"]
    assert float(first[-1]["bleu"]) == pytest.approx(scores["test-joined-4"]["bleu"])
    kept.write_text("Anders.\n" * 4)  # by somebody else
    assert main(command) == 2
    assert "test-joined-4.hyp was changed since result.json was written" in capsys.readouterr().err


def test_training_scores_the_joined_test_set_as_the_analysis_does(few_pairs, copies, tmp_path):
    cfg = settings(few_pairs, "rope")
    cfg.data.joined_tests = [4]
    train(cfg, tmp_path / "trained")
    command = ["analyze", "lengths", str(copies["rope"]), "--joined", "4", "--out", str(tmp_path / "lengths")]
    assert main(command) == 0
    for name in ("test-joined-4.hyp", "test-joined-4.counts"):
        assert (tmp_path / "trained" / name).read_bytes() == (copies["rope"] / name).read_bytes()


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
