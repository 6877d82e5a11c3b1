"""Additional test sets of a run, scored at its end: named files, and several lines of the test set joined to one."""

from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu

from rope_mt.runs.folder import RunFolder, begin
from rope_mt.runs.result import read_result
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.training.train import train
from rope_mt.translation.sentence_statistics import COLUMNS, SentenceStatistics


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_each_is_translated_scored_and_told(quick, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rope_mt.system.progress.LINE_EVERY", 0)
    run, cfg = RunFolder(tmp_path / "run"), quick(precision="fp32")
    for lang in ("en", "de"):
        lines = read(text / f"valid.{lang}")[::-1]
        (tmp_path / f"other.{lang}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "other.docs").write_text(f"1\t3\ta\n4\t{len(lines) - 3}\tb\n")
    cfg = replace(cfg, data=replace(cfg.data, further_tests=[str(tmp_path / "other")], joined_tests=[2]))
    train(cfg, run.path)
    result, (out, err) = read_result(run), capsys.readouterr()
    assert "(last weights; greedy, 1 sentences)" in out
    assert "(last weights; beam 2, length penalty 0.6)" in out
    further = result["further_tests"]
    ref = read(text / "valid.de")
    joined = [f"{first} {second}" for first, second in zip(ref[::2], ref[1::2], strict=True)]
    for name, references in (("other", ref[::-1]), ("test-joined-2", joined)):
        hyp = read(run.hyp(name))
        assert further[name]["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hyp, [references]).score)
        assert further[name]["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hyp, [references]).score)
        assert f"translating {name}: {len(hyp)} of {len(hyp)} sentences" in err
        assert f"{name}: loss {further[name]['loss']:.3f}   BLEU {further[name]['bleu']:.2f}" in out
        assert SentenceStatistics.read(run.counts(name)).score("loss") == pytest.approx(further[name]["loss"])
    assert further["other"]["loss"] == pytest.approx(result["valid"]["loss"], rel=1e-5)  # the same pairs
    documents = SentenceStatistics.read(run.counts("other")).table[:, COLUMNS.index("document")]
    assert documents.tolist() == [0] * 3 + [1] * (len(lines) - 3)
    assert read(run.hyp("other")) == read(run.test_hyp)[::-1]

    begin(run, replace(cfg, overwrite=True), "0", ([], []), {})
    assert not [file for file in run.path.iterdir() if file.suffix in (".hyp", ".counts")]


def test_a_trial_translates_the_first_sentences_alone_and_a_comparison_knows(quick, text, tmp_path, capsys):
    run, cfg = RunFolder(tmp_path), quick(test_sentences=3, ema=0.5)
    cfg = replace(cfg, data=replace(cfg.data, further_tests=[str(text / "sixteen")]))
    train(cfg, run.path)
    result, out = read_result(run), capsys.readouterr().out
    assert [len(read(run.hyp(name))) for name in ("test", "sixteen")] == [3, 3]
    ref = read(text / "valid.de")[:3]
    assert read(run.test_ref) == ref
    assert result["test"]["bleu"] == pytest.approx(sacrebleu.corpus_bleu(read(run.test_hyp), [ref]).score)
    assert result["valid"]["bleu"] == result["test"]["bleu"]
    assert result["valid"]["loss"] != pytest.approx(result["test"]["loss"])  # it is over the whole set
    assert "(moving average; greedy, 1 sentences)" in out
    assert out.count("(moving average; beam 2, length penalty 0.6, first 3 sentences)") == 2
    finished = FinishedRun.read(run.path)
    assert finished
    assert finished.conditions()["trainer.test_sentences"] == 3


def test_lines_that_a_table_of_positions_cannot_read_have_no_score(quick, tmp_path, capsys):
    run, cfg = RunFolder(tmp_path), quick(scheme="learned")
    cfg = replace(cfg, data=replace(cfg.data, joined_tests=[2, 8]), position=replace(cfg.position, max_len=256))
    train(cfg, run.path)
    further = read_result(run)["further_tests"]
    assert further["test-joined-2"]
    assert further["test-joined-8"] is None
    assert "test-joined-8: longer than the model reads" in capsys.readouterr().out
    assert not run.hyp("test-joined-8").exists()
