"""Scores by length and on joined sentences, from real runs through the real command line."""

import csv
import json
import shutil

import pytest
import sacrebleu
import torch

from rope_mt.cli.main import main
from rope_mt.data.tokenizer import BOS, EOS
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.translation.scored_sets import join_lines
from rope_mt.translation.translator import Translator


@pytest.fixture
def copies(runs, tmp_path):
    """The runs in a folder that this test may write to."""
    return {name: shutil.copytree(folder, tmp_path / folder.name) for name, folder in runs.items()}


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_consecutive_lines_are_joined_and_fewer_at_the_end_are_skipped():
    assert join_lines(["a", "b", "c", "d", "e"], 2) == ["a b", "c d"]


def test_the_command_scores_buckets_and_joined_sentences(copies, tmp_path, capsys):
    names = [str(copies[name]) for name in ("sinusoidal-add", "rope")]
    flags = ["--buckets", "30,50", "--joined", "1,2,4", "--out", str(tmp_path / "new" / "lengths")]
    assert main(["analyze", "lengths", *names, *flags]) == 0
    printed = capsys.readouterr().out
    assert "nrefs:1|case:mixed" in printed
    assert "trained on at most 40 tokens a side" in printed
    assert printed.count("BLEU of so many test sentences joined, without its brevity penalty\n") == 1
    rows = rows_of(tmp_path / "new" / "lengths.csv")
    assert len(rows) == 2 * 6
    assert (tmp_path / "new" / "lengths.png").read_bytes().startswith(b"\x89PNG")

    folder = copies["rope"]
    src, ref, hyp = ((folder / f"test.{part}").read_text().splitlines() for part in ("src", "ref", "hyp"))
    lengths = [len(ids) for ids in checkpoint.load(folder).tokenizer.encode(src)]
    ours = {(row["kind"], row["name"]): row for row in rows if row["run"] == str(folder)}
    for name, inside in (("1-30", lambda n: n <= 30), ("31-50", lambda n: 30 < n <= 50), (">50", lambda n: n > 50)):
        numbers = [i for i, n in enumerate(lengths) if inside(n)]
        assert numbers
        bleu = sacrebleu.corpus_bleu([hyp[i] for i in numbers], [[ref[i] for i in numbers]]).score
        assert float(ours["bucket", name]["bleu"]) == pytest.approx(bleu)
        assert int(ours["bucket", name]["sentences"]) == len(numbers)
    for k in (2, 4):
        translated = (folder / f"test-joined-{k}.hyp").read_text().splitlines()
        assert len(translated) == len(src) // k
        bleu = sacrebleu.corpus_bleu(translated, [join_lines(ref, k)])
        assert float(ours["joined", str(k)]["bleu"]) == pytest.approx(bleu.score)
        assert float(ours["joined", str(k)]["bleu without brevity penalty"]) == pytest.approx(bleu.score / bleu.bp)
    assert float(ours["joined", "1"]["bleu"]) == pytest.approx(sacrebleu.corpus_bleu(hyp, [ref]).score)


def test_joined_translations_are_those_of_training_made_once_and_belong_to_the_result(copies, tmp_path, capsys):
    folder = copies["rope again"]
    files = [folder / f"test-joined-4.{ending}" for ending in ("hyp", "counts")]
    of_training = [file.read_bytes() for file in files]
    result = json.loads((folder / "result.json").read_text())
    score = result["further_tests"].pop("test-joined-4")["bleu"]
    write_result(RunFolder(folder), {**result, "files": {}})
    for file in files:
        file.unlink()
    command = ["analyze", "lengths", str(folder), "--joined", "1,4", "--out", str(tmp_path / "lengths")]
    assert main(command) == 0
    assert [file.read_bytes() for file in files] == of_training
    rows, made = rows_of(tmp_path / "lengths.csv"), files[0].stat().st_mtime_ns
    assert float(rows[-1]["bleu"]) == pytest.approx(score)

    shutil.rmtree(folder / "checkpoints")  # nothing is left that could translate
    (folder / "test.ref").unlink()
    assert main(command) == 0
    assert files[0].stat().st_mtime_ns == made
    assert rows_of(tmp_path / "lengths.csv") == rows
    assert main([*command[:3], "--joined", "1,2,4,8"]) == 2
    assert f"{folder} has no translations for --joined 2,8, and no weights" in capsys.readouterr().err
    files[0].write_text("Anders.\n" * 4)
    assert main(command) == 2
    assert "test-joined-4.hyp was changed since result.json was written" in capsys.readouterr().err


def test_a_table_of_positions_that_ends_is_told_in_its_cell(copies, tmp_path, capsys):
    for joined_numbers in ("1,8", "8"):
        words = [str(copies["learned"]), "--joined", joined_numbers, "--out", str(tmp_path / "lengths")]
        assert main(["analyze", "lengths", *words]) == 0
        assert "too long" in capsys.readouterr().out
        assert not (copies["learned"] / "test-joined-8.hyp").exists()
        assert rows_of(tmp_path / "lengths.csv")[-1]["bleu"] == ""


def test_mistakes_are_one_line(copies, tmp_path, capsys):
    other = copies["rope again"]
    (other / "test.src").write_text((other / "test.src").read_text().replace("the", "a"))
    (other / "run.json").unlink()
    write_result(RunFolder(other), json.loads((other / "result.json").read_text()))
    for words, message in (
        ([str(copies["rope"]), str(other)], "have different test sets"),
        ([str(copies["rope"]), "--joined", "18"], "too few to join 18: lower --joined"),
        ([str(copies["rope"]), "--buckets", "20,10"], "'20,10' is not a list of rising numbers"),
        ([str(tmp_path / "nowhere")], "no such run"),
    ):
        assert main(["analyze", "lengths", *words, "--out", str(tmp_path / "lengths")]) == 2
        assert message in capsys.readouterr().err


def test_forced_measures_are_those_of_each_token_at_its_position_and_of_hypotheses_as_long(copies, tmp_path, capsys):
    names = [str(copies[name]) for name in ("rope", "learned")]
    assert main(["analyze", "lengths", *names, "--joined", "1,8", "--forced", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "learned, seed 1, 8 joined: longer than the model's positions" in printed
    assert (tmp_path / "out-forced.png").read_bytes().startswith(b"\x89PNG")
    rows = [row for row in rows_of(tmp_path / "out-forced.csv") if row["run"] == names[0] and row["joined"] == "8"]

    ckpt = checkpoint.load(copies["rope"])
    src, ref = (join_lines((copies["rope"] / f"test.{part}").read_text().splitlines(), 8) for part in ("src", "ref"))
    translator = Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), ckpt.config.trainer.precision)
    nats: dict[int, list[float]] = {}
    for line, right in zip(src, ref, strict=True):
        [src_ids], [ids] = (ckpt.tokenizer.encode([text]) for text in (line, right))
        logits = translator.model(torch.tensor([[*src_ids, EOS]]), torch.tensor([[BOS, *ids]]))[0]
        for at, token in enumerate([*ids, EOS]):
            nats.setdefault(at // 10 * 10, []).append(-logits[at].log_softmax(-1)[token].item())
    assert [int(row["tokens"]) for row in rows] == [len(nats[at]) for at in sorted(nats)]
    expected = [sum(nats[at]) / len(nats[at]) for at in sorted(nats)]
    assert [float(row["nats per token"]) for row in rows] == pytest.approx(expected, abs=1e-3)
    hypotheses = translator.hypotheses(ckpt.tokenizer.encode(src), [len(ids) + 1 for ids in ckpt.tokenizer.encode(ref)])
    lines = translator.decode([found[0].tokens for found in hypotheses])
    assert float(rows[0]["chrf of all"]) == pytest.approx(sacrebleu.corpus_chrf(lines, [ref]).score)
