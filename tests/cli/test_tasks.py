"""What a command gets from its words, and how it ends."""

import errno
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from rope_mt.config.meanings import meanings
from rope_mt.errors import UserError

from ..conftest import Output
from .conftest import shell


def test_flags_may_stand_anywhere(rope_mt):
    behind = rope_mt("train", "position=none", "seed=3", "--cfg", "job", "model=small")
    before = rope_mt("train", "-c", "job", "position=none", "seed=3", "model=small")
    assert behind == before
    assert behind.code == 0
    assert "seed: 3\n" in behind.out
    assert "name: none\n" in behind.out
    assert "name: small\n" in behind.out


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("train --cfg all", "hydra:\n"),
        ("train --cfg job --package position", "# @package position\nname: rope\n"),
        ("train --cfg job -p trainer --resolve data=multi30k", "max_steps: 6000\n"),
        ("train data=files --cfg job -p data", "train: ???\n"),
        ("train position=none --info defaults", "position/none"),
        ("train --info position=none", "position/none"),
        ("train experiment=schemes position=none,rope --cfg job -p position", "name: none"),
        (f"train --cfg job -p tracking tracking.tags=[{'a,' * 200}z]", "- z"),  # longer than a file's name may be
        ("train --hydra-help", "--experimental-rerun"),
        ("train hydra/launcher=basic --cfg job -p seed", "1"),
        ("eval --cfg job", "checkpoint: ???\n"),
        ("eval search=greedy --cfg job -p search", "beam: 1\n"),
        ("prepare --cfg job -p data.name", "toy"),
        ("bench schemes --cfg job -p data.name", "toy"),
        ("bench --cfg job -p data.name schemes data=mixed", "mixed"),
        ("bench schemes --cfg job -p model.dropout", "0.1"),
        ("bench --help", "rope-mt bench SUBJECT"),
        ("bench schemes --info defaults", "schema/bench/schemes"),
    ],
)
def test_hydras_own_flags_work(rope_mt, line, shown):
    output = rope_mt(*line.split())
    assert (output.code, output.err) == (0, "")
    assert shown in output.out
    assert not [*Path().iterdir()]


def test_configurations_of_the_users_are_found(rope_mt, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [{override /position: none}]\nseed: 17\n"
    (tmp_path / "mine/experiment/x.yaml").write_text(text)
    for word in ("experiment=x", "+experiment=x"):
        output = rope_mt("train", word, "--cfg", "job", "--config-dir", str(tmp_path / "mine"))
        assert (output.code, output.err) == (0, "")
        assert "seed: 17" in output.out
        assert "name: none" in output.out


PATHS = ["outputs/toy", "a b/c", "epoch=3-step=7.ckpt", "it's", "x,y", "{a}[b](c)", "back\\slash", "end\\"]
PATHS += ["a\\'b", "1"]


@pytest.fixture
def evaluated(stand_in) -> list[tuple[str, int | None]]:
    """Checkpoint and beam of each evaluation, of which none is made."""
    calls: list[tuple[str, int | None]] = []
    stand_in("rope_mt.translation.evaluate", evaluate=lambda cfg: calls.append((cfg.checkpoint, cfg.search.beam)))
    return calls


@pytest.mark.parametrize("path", PATHS)
def test_a_checkpoint_needs_no_quotes(rope_mt, evaluated, path):
    Path(path).mkdir(parents=True)
    words = [path, "search.beam=3"]
    assert rope_mt("eval", *(words if path != PATHS[0] else reversed(words))).code == 0
    assert evaluated == [(path, 3)]


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (["it's,one=1", "-m", "search.beam=1,4"], [("it's,one=1", 1), ("it's,one=1", 4)]),
        (["device=cpu", "checkpoint=some/run"], [("some/run", None)]),
        (["-m", "checkpoint=a,b"], [("a", None), ("b", None)]),
        (["device=cuda"], [("device=cuda", None)]),  # a folder of that name exists
    ],
)
def test_a_checkpoint_is_one_in_a_sweep_a_setting_or_a_path_that_looks_like_one(rope_mt, evaluated, words, calls):
    for folder in ("it's,one=1", "some/run", "a", "b", "device=cuda"):
        Path(folder).mkdir(parents=True)
    assert rope_mt("eval", *words).code == 0
    assert evaluated == calls


def test_a_folder_whose_name_begins_with_a_dash_is_no_flag(rope_mt, evaluated):
    Path("-m/run").mkdir(parents=True)
    assert rope_mt("eval", "-m/run", "search.beam=2").code == 0
    assert evaluated == [("./-m/run", 2)]


def test_tasks_get_typed_configurations(rope_mt, stand_in):
    from rope_mt.config.commands import PrepareConfig, TrainConfig
    from rope_mt.config.position import RelativeConfig

    seen = []
    stand_in("rope_mt.training.train", train=lambda cfg, *more: seen.append(cfg) or 1.0)
    stand_in("rope_mt.data.prepare", prepare_and_report=seen.append)
    assert rope_mt("train", "position=relative", "position.clip=5").code == 0
    assert rope_mt("prepare", "data=multi30k").code == 0
    assert isinstance(seen[0], TrainConfig)
    assert seen[0].position == RelativeConfig(clip=5)
    assert isinstance(seen[1], PrepareConfig)
    assert seen[1].data.name == "multi30k"


def test_the_command_of_a_run_makes_it_again_with_its_folder_and_the_users_own_files(rope_mt, stand_in, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/x.yaml").write_text("# @package _global_\nseed: 17\n")
    seen = []
    stand_in("rope_mt.training.train", train=lambda cfg, folder, command, _: seen.append((cfg, folder, command)) or 1.0)
    assert rope_mt("train", "experiment=x", "hydra.run.dir=it's", "--config-dir", str(tmp_path / "mine")).code == 0
    assert rope_mt(*shlex.split(seen[0][2])[1:]).code == 0
    assert seen[0] == seen[1]
    assert (seen[0][0].seed, seen[0][1]) == (17, Path("it's").absolute())


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("the corpus\nis empty"), 2, "rope-mt: the corpus is empty\n"),
        (KeyboardInterrupt(), 130, "rope-mt: interrupted\n"),
        (ZeroDivisionError(), None, ""),  # a mistake in the program keeps its traceback
    ],
)
def test_how_a_run_ends_is_told_in_a_line(rope_mt, stand_in, error, code, line):
    def train(cfg: Any, *more: Any) -> float:
        raise error

    stand_in("rope_mt.training.train", train=train)
    if code is None:
        with pytest.raises(type(error)):
            rope_mt("train")
    else:
        assert rope_mt("train") == Output(code, "", line)


def test_a_folder_that_cannot_be_made_is_named(rope_mt):
    Path("outputs").write_text("not a folder")
    output = rope_mt("train")
    line = f"cannot write outputs: {os.strerror(errno.EEXIST)}; outputs is no folder: remove it, or choose another"
    assert (output.code, output.err) == (2, f"rope-mt: {line} folder\n")


def test_compare_gets_a_typed_configuration_too(rope_mt, stand_in):
    from rope_mt.config.flags import CompareConfig
    from rope_mt.study.compare.buckets import TENS

    seen = []
    stand_in("rope_mt.study.compare.compare", compare=seen.append)
    assert rope_mt("compare", "outputs/a=1", "--csv", "--buckets", "9,20").code == 0
    assert seen == [CompareConfig(runs=[Path("outputs/a=1")], buckets=[9, 20], form="csv")]
    assert f"else {','.join(map(str, TENS))})" in meanings(CompareConfig)["buckets"]


def test_ctrl_c_while_modules_are_imported_ends_with_one_line(tmp_path):
    """The import of torch swallows KeyboardInterrupt; here a module plays it."""
    swallows = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    (tmp_path / "torch.py").write_text(swallows)
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from rope_mt.cli import main"
    output = shell("-c", f"{code}; sys.path.insert(0, {str(tmp_path)!r}); sys.exit(main.main(['train']))", cwd=tmp_path)
    assert (output.returncode, output.stdout, output.stderr) == (130, "", "rope-mt: interrupted\n")
