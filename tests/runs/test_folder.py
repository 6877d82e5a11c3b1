"""The folder of a run on odd disks: links stay, and what lies behind them is used."""

import json
from dataclasses import replace
from pathlib import Path

from rope_mt.config.files import read_yaml
from rope_mt.config.plain import from_plain, identity
from rope_mt.config.position import PositionsConfig, RopeConfig
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import name_at_wandb, provenance
from rope_mt.runs.wandb_client import accepted
from rope_mt.system.manifest import read_manifest, write_manifest

from ..small import small_config

PUBLISHED = Path(__file__).parents[2] / "outputs" / "published" / "multi30k-short" / "multi30k-small-rope-s1-19a422c5"


def test_the_commit_is_of_this_checkout_whatever_git_was_told_of_another(tmp_path, monkeypatch):
    commit = provenance()["commit"]
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert provenance()["commit"] == commit


def test_the_name_at_wandb_begins_with_scheme_and_seed_so_that_cut_names_tell_runs_apart():
    cfg = from_plain(read_yaml(PUBLISHED / "config.yaml"))
    names = [name_at_wandb(cfg, Path(name)) for name in ("multi30k-small-rope-s1-19a422c5", "rope-s1", "x" * 80)]
    assert names == ["rope-s1-multi30k-small-19a422c5", "rope-s1", f"rope-s1-{'x' * 80}"]
    cut = {accepted(name_at_wandb(replace(cfg, seed=seed), Path("x" * 80)))[:8] for seed in (1, 2)}
    assert cut == {"rope-s1-", "rope-s2-"}


def test_a_checkpoint_that_was_moved_away_and_linked_is_removed_as_a_link(tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    (away / "weights").write_text("")
    (tmp_path / "step-0000001").symlink_to(away)
    checkpoint.remove(tmp_path / "step-0000001")
    assert [*tmp_path.iterdir()] == [away]
    assert [*away.iterdir()]


def test_a_path_with_bytes_that_are_no_utf8_stays_the_same_in_our_files(tmp_path):
    file = tmp_path / "run.json"
    write_manifest(file, {"prepared": "data/\udce4/toy"})
    assert json.loads(file.read_text(encoding="utf-8"))["prepared"] == "data/\udce4/toy"
    assert read_manifest(file, "")["prepared"] == "data/\udce4/toy"


def test_a_setting_that_was_added_leaves_the_names_of_runs_as_they_were_until_it_is_used():
    known = {"name": "rope", "theta": 10_000.0, "layout": "interleaved", "fraction": 1.0, "cross_attention": False}
    assert identity(RopeConfig()) == known
    assert identity(RopeConfig(kept=0.5)) == {**known, "kept": 0.5}
    cfg = small_config(["train", "valid", "test"], "data")
    drawn = replace(cfg, positions=PositionsConfig("random", 300))
    assert "positions" not in identity(cfg)
    assert identity(drawn)["positions"] == {"name": "random", "reach": 300, "eval": "consecutive"}
