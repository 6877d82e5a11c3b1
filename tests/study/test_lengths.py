"""Scores by length and on joined sentences, from real runs through the real command line."""

import json
import re
import shutil

import numpy as np
import pytest
import sacrebleu
import torch

from rope_mt.cli.main import main
from rope_mt.data.tokenizer import BOS, EOS
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.study.analyze.beyond import Measure, compared
from rope_mt.study.analyze.forced import forced, pieces
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.translation.scored_sets import join_lines
from rope_mt.translation.translator import Translator

from .made_runs import csv_rows


@pytest.fixture
def copies(runs, tmp_path):
    """The runs in a folder that this test may write to."""
    return {name: shutil.copytree(folder, tmp_path / folder.name) for name, folder in runs.items()}


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
    rows = csv_rows(tmp_path / "new" / "lengths.csv")
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
    rows, made = csv_rows(tmp_path / "lengths.csv"), files[0].stat().st_mtime_ns
    assert float(rows[-1]["bleu"]) == pytest.approx(score)

    shutil.rmtree(folder / "checkpoints")  # nothing is left that could translate
    (folder / "test.ref").unlink()
    assert main(command) == 0
    assert files[0].stat().st_mtime_ns == made
    assert csv_rows(tmp_path / "lengths.csv") == rows
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
        assert csv_rows(tmp_path / "lengths.csv")[-1]["bleu"] == ""


def test_mistakes_are_one_line(copies, tmp_path, capsys):
    other = copies["rope again"]
    (other / "test.src").write_text((other / "test.src").read_text().replace("the", "a"))
    (other / "run.json").unlink()
    write_result(RunFolder(other), json.loads((other / "result.json").read_text()))
    for words, message in (
        ([str(copies["rope"]), str(other)], "have different test sets"),
        ([str(copies["rope"]), "--joined", "18"], "too few to join 18: lower --joined"),
        ([str(tmp_path / "nowhere")], "no such run"),
    ):
        assert main(["analyze", "lengths", *words, "--out", str(tmp_path / "lengths")]) == 2
        assert message in capsys.readouterr().err


def joined_up_to(most: int, src: list[list[int]], ref: list[list[int]]) -> list[list[int]]:
    """The numbers of the sentences of each text of at most `most` tokens a side, written out again."""
    texts: list[list[int]] = [[]]
    for n in range(len(src)):
        if any(sum(len(side[i]) for i in [*texts[-1], n]) > most for side in (src, ref)):
            texts.append([])
        texts[-1].append(n)
    return [text for text in texts if text and all(sum(len(side[i]) for i in text) <= most for side in (src, ref))]


def test_forced_measures_are_those_of_each_token_at_its_position_and_of_hypotheses_as_long(copies, tmp_path, capsys):
    names = [str(copies[name]) for name in ("rope", "rope again", "sinusoidal-add")]
    command = ["analyze", "lengths", *names, "--forced", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Difference from sinusoidal-add, without intervals, as one seed has none" in printed
    assert "Difference from rope, ± its 95 % interval" in printed
    assert re.search(r"\nyarn 4 .* ±", printed)
    assert max(map(len, printed.replace(str(tmp_path), "").splitlines())) <= 110
    assert (tmp_path / "out-forced.png").read_bytes().startswith(b"\x89PNG")
    written = (tmp_path / "out-forced.json").read_bytes()
    names_of_rows = ("against", "arm", "times", "low", "high")
    found = {tuple(row[name] for name in names_of_rows): row for row in json.loads(written)["rows"]}

    ckpt = checkpoint.load(copies["sinusoidal-add"])
    lines = [(copies["rope"] / f"test.{part}").read_text().splitlines() for part in ("src", "ref")]
    src, ref = map(ckpt.tokenizer.encode, lines)
    translator = Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), ckpt.config.trainer.precision)
    in_longest = joined_up_to(160, src, ref)
    for times, low, high in ((1, 0, 1), (4, 0, 1), (4, 2, 4)):
        # a file without documents is cut into texts of 160 tokens, which stand for them
        texts = [
            [part[0] + i for i in text]
            for part in in_longest
            for text in joined_up_to(40 * times, *([side[n] for n in part] for side in (src, ref)))
        ]
        nats, hypotheses, references = [], [], []
        for text in texts:
            src_ids, ids = ([token for i in text for token in side[i]] for side in (src, ref))
            logits = translator.model(torch.tensor([[*src_ids, EOS]]), torch.tensor([[BOS, *ids]]))[0]
            each = [-logits[at].log_softmax(-1)[token].item() for at, token in enumerate([*ids, EOS])]
            nats += each[40 * low :] if high == times else each[40 * low : 40 * high]
            [[best, *_]] = translator.hypotheses([src_ids], [len(ids) + 1])
            hypotheses += translator.decode([best.tokens])
            references.append(" ".join(lines[1][i] for i in text))
        row = found["sinusoidal-add", "sinusoidal-add", times, low, high]
        assert row["mean"] == pytest.approx(sum(nats) / len(nats), abs=1e-3)
        chrf = sacrebleu.corpus_chrf(hypotheses, [references]).score
        assert found["sinusoidal-add", "sinusoidal-add", times, 0, 0]["mean"] == pytest.approx(chrf, abs=0.01)
    for name in names:
        shutil.rmtree(f"{name}/checkpoints")  # what was measured is kept
    assert main(command) == 0
    assert (tmp_path / "out-forced.json").read_bytes() == written
    words = [str(copies["learned"]), "--forced"]
    assert main(["analyze", "lengths", *words]) == 2
    assert "has positions for 150 tokens, and --forced reads 160: leave it out" in capsys.readouterr().err


def test_documents_are_joined_apart_and_what_is_too_long_is_left_out():
    lengths = [np.array([3, 3, 3, 9, 3, 3]), np.array([3, 3, 3, 2, 3, 3])]
    assert pieces(lengths, np.array([0, 0, 0, 0, 0, 1]), 7).tolist() == [[0, 2], [2, 3], [4, 5], [5, 6]]


def test_a_published_record_gets_what_was_measured(copies, tmp_path):
    run = FinishedRun.read(copies["rope"])
    assert run is not None
    record = RunFolder(tmp_path / "published" / run.folder.name)
    shutil.copytree(run.folder, record.path)
    run.config["sweep"]["published"] = str(record.path.parent)
    forced(run)
    assert record.forced.read_bytes() == RunFolder(run.folder).forced.read_bytes()


def test_the_same_models_are_compared_with_themselves_seed_by_seed():
    rng = np.random.default_rng(1)
    tokens = np.full((30, 16), 5.0)
    nats = [tokens * (3 + seed + rng.random((30, 16))) for seed in range(3)]  # seeds are far apart
    arms = {
        name: [{"4": {"nats": (of_seed + more * tokens).tolist(), "tokens": tokens.tolist()}} for of_seed in nats]
        for name, more in (("rope", 0.0), ("yarn 2", 0.125))
    }
    measure = Measure(4, 2, 4)
    of_self, of_other = (compared(arms, "rope", measure, paired)["yarn 2"].interval for paired in (True, False))
    assert of_self is not None
    assert of_other is not None
    assert (of_self.low, of_self.high) == pytest.approx((0.125, 0.125))
    assert of_other.low < -1 < 1 < of_other.high
