"""The command line as people meet it: what it answers, what it refuses and in which words, what it leaves behind."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rope_mt.cli.commands import COMMANDS
from rope_mt.cli.messages import settings
from rope_mt.config.choices import command_schema, options
from rope_mt.config.data import ArchiveConfig, ParquetConfig
from rope_mt.config.meanings import meanings
from rope_mt.config.position import POSITION_CONFIGS
from rope_mt.errors import UserError

from .conftest import Output

ROOT = Path(__file__).parents[1]


def shell(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], text=True, capture_output=True, env=env, timeout=60, **more)


# ---- help ------------------------------------------------------------------------------------------------------------


def test_help_shows_each_command_with_an_example_and_each_scheme_with_a_line(rope_mt):
    output = rope_mt("--help")
    assert (output.code, output.err) == (0, "")
    assert output == rope_mt() == rope_mt("-h")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w.*\n +rope-mt {command} ", output.out, re.MULTILINE), command
    for name in POSITION_CONFIGS:
        assert re.search(rf"^  {name} +\w", output.out, re.MULTILINE), f"comment in {name}.yaml"
    assert [*options("position")] == sorted(POSITION_CONFIGS)


def test_help_imports_a_few_modules_of_python_alone():
    """What makes help quick: a count, as a time would be that of the machine and of what runs beside the test."""

    def imported(*words: str) -> set[str]:
        listed = shell("-X", "importtime", *words)
        assert listed.returncode == 0
        return {line.rpartition("|")[2].strip() for line in listed.stderr.splitlines()}

    modules = imported("-m", "rope_mt", "--help") - imported("-c", "pass")  # an environment may add to Python's start
    assert "rope_mt.cli.main" in modules
    assert {name.partition(".")[0] for name in modules} <= {"rope_mt", *sys.stdlib_module_names}
    assert len(modules) < 130  # about 100; torch alone is more than a thousand
    assert not {"torch", "lightning", "numpy"} & imported("-m", "rope_mt", "train", "--help")


def test_a_command_imports_what_it_needs(tmp_path):
    """Finished runs are read without torch, and training begins without wandb and all of torchmetrics."""
    program = """
import sys
from rope_mt.cli.main import main
out, *runs = sys.argv[1:]
assert main(["compare", *runs]) == 0
assert main(["analyze", "convergence", *runs, "--out", out]) == 0
assert main(["analyze", "lengths", *runs, "--joined", "1", "--out", out]) == 0
assert not {"torch", "lightning", "hydra"} & {*sys.modules}
assert main(["train", "data=files", "data.train=nowhere.tsv"]) == 2
assert not {"torch", "lightning"} & {*sys.modules}
import rope_mt.training.train
assert not {"wandb", "torchmetrics", "scipy.signal", "transformers"} & {*sys.modules}
from torchmetrics import Metric  # the real one, for whoever wants it
assert Metric.update
"""
    runs = sorted(map(str, (ROOT / "outputs/published/multi30k").glob("*-s1-*")))
    done = shell("-c", program, str(tmp_path / "out"), *runs)
    assert done.returncode == 0, done.stderr


def test_version(rope_mt):
    from rope_mt import __version__

    assert rope_mt("--version").out == f"rope-mt {__version__}\n"


# ---- bad input: one line, exit code 2, nothing written ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        # commands
        ("trian", "no command 'trian'; did you mean rope-mt train?"),
        ("nonsense", "there are train, eval, translate, prepare, bench, ls"),
        ("position=rope", "as in rope-mt train position=rope"),
        ("-m seed=1,2", "a command comes first"),
        # keys
        ("train positon=rope", "no setting positon; did you mean position?"),
        ("train model.d_modl=3", "no setting model.d_modl; did you mean model.d_model?"),
        ("train d_model=64", "no setting d_model; did you mean model.d_model?"),
        ("train position=relative position.theta=3", "no setting position.theta in RelativeConfig, which has clip"),
        ("train hydra.run.dirr=x", "did you mean hydra.run.dir?"),
        ("train +typo=1", "no setting typo"),
        ("train --cfg job +typo=1", "no setting typo"),
        ("train +model.dropuot=0.5", "no setting model.dropuot; did you mean model.dropout?"),
        ("train +position.clip=3", "no setting position.clip in RopeConfig, which has theta"),
        ("train +seed=2", "seed is a setting already: write it without the +"),
        ("train ~model.d_ff", "model.d_ff can be changed, not removed"),
        ("eval serch.beam=3 RUN", "no setting serch.beam; did you mean search.beam?"),
        ("eval RUN data=toy", "this command has no group data"),
        # groups
        ("train position=rop", "position=rop does not exist: it can be alibi, deberta, fire, kerple, learned, none, "),
        ("train position=rop", "; did you mean position=rope?"),
        ("train positions=random positions.reach=100", "positions.reach must be above data.max_len=256, not 100"),
        ("train position=tupe positions=shifted positions.reach=900", "must be at least 1156, the last position of "),
        ("train positions.eval=random", "positions.eval must be consecutive without positions=random, not "),
        ("train position.factor=2", "position.factor must be 1 without position.scaling, not 2.0"),
        ("train position=", "position= needs a name: it can be alibi, deberta, fire, kerple, learned, none, "),
        ("train position=3", "position=3 does not name an option"),
        ("train -m position=rope,rop", "did you mean position=rope?"),
        ("train -m position=glob(zz*)", "position=glob(zz*) selects nothing"),
        ("train hydra/launcher=basci", "it can be basic"),
        ("prepare data=multi31k", "did you mean data=multi30k?"),
        # types and ranges
        ("train seed=x", "seed must be a whole number, not 'x'"),
        ("train seed=null", "seed must have a value, not null"),
        ("train overwrite=perhaps", "overwrite must be true or false, not 'perhaps'"),
        ("train position.theta=abc", "position.theta must be a number, not 'abc'"),
        ("train tracking.tags=abc", "tracking.tags must be a list"),
        ("train -m seed=1,2 model.n_heads=4,3", "model.d_model must be a multiple of n_heads=3"),
        ("train seed=-1", "seed must be from 0"),
        ("train data.clean=strict", "data.clean must be standard or fairseq, not 'strict'"),
        ("prepare data.tokenizer=word", "data.tokenizer must be bpe or unigram, not 'word'"),
        ("train data.sampling=1", "data.sampling must be at least 0 and below 1"),
        ("train data.context_tokens=512", "data.max_len must be at least 512"),
        (
            "train position=t5 model.attention=linear",
            "position=t5 acts on scores, and model.attention=linear has none: take one of none, sinu",
        ),
        ("train position=learned position.max_len=100", "position.max_len must be at least data.max_len=256, not 100"),
        ("train position=rope position.layout=halves", "position.layout must be interleaved or half, not 'halves'"),
        ("train position=rope position.fraction=0", "position.fraction must be above 0 and at most 1, not 0.0"),
        ("train model.n_features=7", "model.n_features must be even, above 0, not 7"),
        ("bench", "one thing to measure must be given: data or decode or schemes or train, as in rope-mt bench data"),
        ("bench data schemes", "one thing to measure must be given"),
        ("bench schmes", "'schmes', only data or decode or schemes or train; did you mean rope-mt bench schemes"),
        ("bench nonsense", "'nonsense', only data or decode or schemes or train, as in rope-mt bench data"),
        ("bench data bench.steps=3", "no setting bench.steps; bench has json, pairs, text, batch_tokens"),
        ("bench data model=small", "this command has no group model"),
        ("bench schemes bench.pairs=3", "no setting bench.pairs; bench has json, schemes, steps"),
        ("bench schemes bench.steps=0", "bench.steps must be at least 1, not 0"),
        ("bench train bench.schemes=[rope]", "no setting bench.schemes; bench has json, steps, yardstick"),
        ("bench schemes bench.schemes=[rop]", " or rope, not 'rop'"),
        ("bench schemes model=3", "model=3 does not name an option"),
        ("translate RUN The dog sleeps.", "text comes from standard input, as in: echo TEXT | rope-mt translate RUN"),
        (f"compare {'a' * 300}", f"{'a' * 60}…: File name too long"),
        ("translate RUN device=gpu", "device must be auto or cpu or cuda or mps, not 'gpu'"),
        # values that are missing, or point nowhere
        (
            "train data=files",
            "data.train must be given: write data.train=FILE.tsv (SOURCE, TAB, TARGET in each line), or ",
        ),
        (
            "train data=files data.train=my.tsv",
            "no such text: my.tsv; give FILE.tsv (SOURCE, TAB, TARGET in each line), or",
        ),
        ("train data=files data.train=a data.columns=[1]", "data.columns must be two numbers from 1 on, as in [1,2]"),
        ("train ~position", "position must be given: add position=VALUE"),
        ("eval", "checkpoint must be given: name a run or a checkpoint"),
        ("train data.dir=${nope}", "Interpolation key 'nope' not found"),
        ("train data.dir=${oc.env:NO_SUCH_NAME}", "needs the environment variable NO_SUCH_NAME: set it, or give data"),
        # words that are no setting
        ("train seed", "cannot read 'seed': a setting is written KEY=VALUE"),
        ("train optimizer.name='x", 'cannot read "optimizer.name=\'x"'),
        ("train =3", "=3 does not name an option"),
        ("train sweep.fail_fast=true", "sweep.fail_fast is for several runs: add -m"),
        ("train sweep.published=nowhere", "sweep.published: there is no folder nowhere"),
        ("train -m hydra/launcher=submitit", "hydra/launcher=submitit does not exist: it can be"),
        ("train seed=1,2", "seed=1,2 means several runs: add -m"),
        # flags
        ("train --multrun seed=1,2", "no flag --multrun; did you mean --multirun?"),
        ("train --cfg=jb", "invalid choice: 'jb'"),
        ("train --cfg job -m", "--multirun and --cfg cannot be given together"),
        ("train --resolve", "--resolve needs --cfg or --help"),
        ("train --config-dir nowhere", "there is no folder nowhere"),
        ("train -m hydra.sweep.dir=x seed=1,2", "hydra.sweep.subdir"),
        ("train experiment=schemes hydra.sweep.dir=x", "hydra.sweep.subdir"),
        ("train -m hydra.run.dir=x seed=1,2", "hydra.run.dir is for one run: for several take hydra.sweep.dir"),
        ("train -m hydra/launcher=local overwrite=true seed=1,2", "whenever it is requeued: remove the runs first"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(rope_mt, line, answer):
    output = rope_mt(*line.split())
    assert output.code == 2
    assert output.err.startswith("rope-mt: ")
    assert output.err.count("\n") == 1
    assert answer in output.err
    assert "Traceback" not in output.err
    assert "HYDRA_FULL_ERROR" not in output.err
    assert output.out == ""
    assert not [*Path().iterdir()]


@pytest.mark.parametrize(
    ("text", "named"), [("# @package _global_\nmodel: {d_modl: 3}\n", "d_modl"), ("a: [\n", "bad.yaml")]
)
def test_a_broken_file_of_the_users_is_named(rope_mt, tmp_path, text, named):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/bad.yaml").write_text(text)
    output = rope_mt("train", "experiment=bad", "--config-dir", str(tmp_path))
    assert (output.code, output.err.count("\n")) == (2, 1)
    assert "experiment/bad" in output.err
    assert named in output.err


def test_who_asks_for_full_errors_gets_the_traceback_too(rope_mt, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    output = rope_mt("train", "seed=x")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    assert output.code == 2
    assert "Traceback" in output.err
    assert output.err.splitlines()[-1] == "rope-mt: seed must be a whole number, not 'x'"


# ---- what belongs to Hydra stays Hydra's -----------------------------------------------------------------------------


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


def test_help_of_a_command_shows_no_groups_of_another(rope_mt):
    assert "schema" not in rope_mt("train", "--help").out
    groups = rope_mt("eval", "--help").out.partition("general\n")[0]
    assert re.search("  search: +beam, greedy\n", groups)
    assert "model:" not in groups
    assert "bench:" not in groups
    for subject, wanted in (("data", False), ("schemes", True)):
        groups = rope_mt("bench", subject, "--help").out.partition("data: A parallel corpus")[0]
        assert "  data:  " in groups
        assert ("  model:  " in groups) == wanted


@pytest.mark.parametrize(
    "words", ["train", "eval", "translate", "prepare", *(f"bench {name}" for name in options("bench"))]
)
def test_help_gives_every_setting_a_value_and_a_meaning_in_80_columns(rope_mt, words):
    output = rope_mt(*words.split(), "--help")
    assert (output.code, output.err) == (0, "")
    assert max(map(len, output.out.splitlines())) <= 80
    entries = re.findall(r"^  ([\w.]+)=\S*\s+(\S.*)", output.out, re.MULTILINE)
    groups = {"model", "data", "data.recipe", "position", "positions", "optimizer", "trainer", "search", "tracking"}
    of_command = {*settings(command_schema(words.replace(" ", "/")))} - {*groups, "sweep", "bench", "translate"}
    assert {name for name, _ in entries} <= of_command
    other_schemes = {name for name in of_command if name.startswith("position.")}
    assert of_command - {name for name, _ in entries} <= other_schemes
    for schema in (*POSITION_CONFIGS.values(), ArchiveConfig, ParquetConfig):
        assert all(meanings(schema).values()), schema


def test_help_follows_the_words_beside_it(rope_mt, tmp_path):
    (tmp_path / "position").mkdir()
    (tmp_path / "position/mine.yaml").write_text("# of the test\n")
    output = rope_mt(
        "train", "--help", "position=relative", "data=multi30k", "seed=7", "--config-dir", str(tmp_path)
    ).out
    for shown in (
        "  seed=7  ",
        "  position.name=relative  ",
        "  position.clip=16  ",
        "  trainer.max_steps=6000  ",
        "learned, mine, none",
    ):
        assert shown in output


def test_help_of_bench_names_each_subject_with_a_line(rope_mt):
    output = rope_mt("bench", "--help").out
    for file in (ROOT / "conf/bench").iterdir():
        assert re.search(rf"^  {file.stem} +\w\w", output, re.MULTILINE), f"comment in {file}"


def test_configurations_of_the_users_are_found(rope_mt, tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [{override /position: none}]\nseed: 17\n"
    (tmp_path / "mine/experiment/x.yaml").write_text(text)
    for word in ("experiment=x", "+experiment=x"):
        output = rope_mt("train", word, "--cfg", "job", "--config-dir", str(tmp_path / "mine"))
        assert (output.code, output.err) == (0, "")
        assert "seed: 17" in output.out
        assert "name: none" in output.out


# ---- tasks -----------------------------------------------------------------------------------------------------------

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


def test_a_pattern_that_means_several_runs_is_refused(rope_mt):
    for name in ("a", "b", "c"):
        Path(name).mkdir()
    output = rope_mt("eval", "a", "b", "c", "search.beam=2")
    assert (output.code, output.err) == (2, "rope-mt: eval takes one run, not 3: name a or another alone\n")


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
    assert (output.code, output.err) == (2, f"rope-mt: cannot write outputs: {os.strerror(errno.EEXIST)}\n")


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
    (tmp_path / "torch.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from rope_mt.cli import main"
    output = shell(
        "-c", f"{start}; sys.path.insert(0, {str(tmp_path)!r}); sys.exit(main.main(['train']))", cwd=tmp_path
    )
    assert (output.returncode, output.stdout, output.stderr) == (130, "", "rope-mt: interrupted\n")


# ---- pipes and completion --------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("words", ["--help", "train --help", "train --info"])
def test_a_reader_may_stop_reading(words):
    piped = f"{sys.executable} -m rope_mt {words} | true"
    done = subprocess.run(
        ["bash", "-c", piped], text=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "some", "never"),
    [
        ("rope-mt ", "train eval translate prepare compare", "seed="),
        ("rope-mt tra", "train translate", "seed="),
        ("rope-mt train ", "seed= position= position. model= trainer.", "schema schema/"),
        ("rope-mt train position=", "position=none position=relative position=rope", "seed="),
        ("rope-mt train position=relative position.", "position.clip=", "position.theta="),
        ("rope-mt train seed=1,2 -m pos", "position= position.", "seed="),
        ("rope-mt train --m", "--multirun", "seed="),
        ("rope-mt eval outputs/x=1 se", "search= search.", "model= data="),
        ("rope-mt eval ou", "", "search="),
        ("rope-mt eval device=cpu ", "", "search="),
        ("rope-mt bench ", "bench= data= model=", "seed= search= schema/"),
        ("rope-mt bench sch", "schemes", "data"),
        ("rope-mt bench bench=", "bench=data bench=schemes", "seed="),
        ("rope-mt bench bench=schemes bench.", "bench.steps= bench.json=", "bench.pairs="),
        ("rope-mt bench data=w", "data=wmt14", "seed="),
        ("rope-mt compare ", "", "seed="),
        ("rope-mt compare --", "", "--multirun"),
        ("rope-mt train 'x ", "", "seed="),
        ("rope-mt nonsense ", "", "seed="),
    ],
)
def test_tab_completes_commands_settings_and_leaves_paths_to_the_shell(rope_mt, monkeypatch, line, some, never):
    monkeypatch.setenv("COMP_LINE", line)
    output = rope_mt("-sc", "query=bash")
    assert (output.code, output.err) == (0, "")
    words = output.out.split()
    assert {*some.split()} <= {*words}
    assert not {*never.split()} & {*words}
    assert some or not words


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path):
    program = tmp_path / "rope-mt"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom rope_mt.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    script = """
        eval "$(rope-mt -sc install=bash)"
        complete -p rope-mt
        COMP_LINE="rope-mt train position=ro" COMP_CWORD=2
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, env=env, cwd=tmp_path, timeout=60)
    rule, reply = done.stdout.splitlines()
    assert "-F hydra_bash_completion rope-mt" in rule
    assert reply == "position=rope"
