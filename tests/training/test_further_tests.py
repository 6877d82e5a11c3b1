"""Test sets beside the one of a run, scored at its end: named files, and several test lines joined to one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu

from rope_mt.errors import UserError
from rope_mt.runs.folder import RunFolder, begin
from rope_mt.training.train import train


def test_each_is_translated_scored_and_told_of(config, tmp_path, capsys):
    cfg = config(max_steps=2, val_every=2)
    folder = Path(cfg.data.train[0]).parent
    lines = {lang: (folder / f"valid.{lang}").read_text(encoding="utf-8").splitlines() for lang in ("en", "de")}
    for lang, of in lines.items():
        (tmp_path / f"other.{lang}").write_text("".join(line + "\n" for line in reversed(of)), encoding="utf-8")
    cfg = replace(cfg, data=replace(cfg.data, further_tests=[str(tmp_path / "other")], joined_tests=[2]))
    train(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    joined = [" ".join(lines["de"][i : i + 2]) for i in range(0, len(lines["de"]) - 1, 2)]
    said = capsys.readouterr().out
    for name, ref in (("other", lines["de"][::-1]), ("test-joined-2", joined)):
        hyp = (tmp_path / "run" / f"{name}.hyp").read_text(encoding="utf-8").splitlines()
        assert result["further_tests"][name]["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hyp, [ref]).score)
        assert result["further_tests"][name]["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hyp, [ref]).score)
        assert f"{name}: BLEU {result['further_tests'][name]['bleu']:.2f}" in said
    hyp = (tmp_path / "run" / "test.hyp").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "run" / "other.hyp").read_text(encoding="utf-8").splitlines() == hyp[::-1]

    begin(RunFolder(tmp_path / "run"), replace(cfg, overwrite=True), "0", ([], []))
    assert not [file for file in (tmp_path / "run").iterdir() if file.suffix in (".hyp", ".counts")]


def test_what_a_table_of_positions_cannot_read_has_no_score(config, tmp_path, capsys):
    cfg = config(max_steps=2, val_every=2, scheme="learned")
    cfg = replace(cfg, data=replace(cfg.data, joined_tests=[2, 8]), position=replace(cfg.position, max_len=256))
    train(cfg, tmp_path / "run")
    further = json.loads((tmp_path / "run" / "result.json").read_text())["further_tests"]
    assert further["test-joined-2"]
    assert further["test-joined-8"] is None
    assert "test-joined-8: longer than the model reads" in capsys.readouterr().out
    assert not (tmp_path / "run" / "test-joined-8.hyp").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"further_tests": ["a/x", "b/x"]}, "data.further_tests must be prefixes with names of their own"),
        ({"further_tests": ["a/test"]}, "data.further_tests must be prefixes with names of their own"),
        ({"further_tests": ["a/test-joined-2"]}, "data.further_tests must be prefixes with names of their own"),
        ({"further_tests": ["a/*"]}, "data.further_tests must be prefixes with names of their own"),
        ({"further_tests": ["a/nowhere"]}, "no such text: a/nowhere.en"),
        ({"joined_tests": [1]}, "data.joined_tests must be rising numbers from 2 on"),
        ({"joined_tests": [4, 2]}, "data.joined_tests must be rising numbers from 2 on"),
        ({"joined_tests": [9]}, "the test set has 8 lines, too few to join 9: lower data.joined_tests"),
    ],
)
def test_mistakes_are_one_line_and_told_at_once(config, tmp_path, settings, said):
    cfg = config(max_steps=2, val_every=2)
    with pytest.raises(UserError, match=f"^[^\n]*{said}[^\n]*$"):
        train(replace(cfg, data=replace(cfg.data, **settings)), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
