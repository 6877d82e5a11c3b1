"""Bad input gets one line and exit code 2, and nothing is written."""

import os
from pathlib import Path

import pytest

from rope_mt.cli.plan import planned
from rope_mt.config.choices import command_schema
from rope_mt.runs.folder import RunFolder


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
        ("train position=ALiBy", "; did you mean position=alibi?"),
        ("train model=tiny,", "cannot read 'model=tiny,': remove the comma at its end"),
        ("train model=[tiny,base]", "model=[tiny,base] names several: for a run each write -m model=tiny,base"),
        ("train optimizer=adam", "optimizer has settings of its own: write one of them, as in optimizer.name=VALUE"),
        ("train data.archives.0.url=x", "data.archives[0] has settings of its own: write it as {NAME: VALUE, ...}"),
        ("train data.archives=[{text:x,url:y}]", "data.archives[0].check, data.archives[0].members must be given"),
        ("train position=3", "position=3 does not name an option"),
        ("train -m position=rope,rop", "did you mean position=rope?"),
        ("train -m position=glob(zz*)", "position=glob(zz*) selects nothing"),
        ("train hydra/launcher=basci", "it can be basic"),
        # types and ranges
        ("train seed=x", "seed must be a whole number, not 'x'"),
        ("train seed=null", "seed must have a value, not null"),
        ("train overwrite=perhaps", "overwrite must be true or false, not 'perhaps'"),
        ("train position.theta=abc", "position.theta must be a number, not 'abc'"),
        ("train tracking.tags=abc", "tracking.tags must be a list"),
        ("train -m seed=1,2 model.n_heads=4,3", "model.d_model must be a multiple of n_heads=3"),
        ("train trainer.max_steps=4,500", "trainer.max_steps=4,500 means several runs: add -m"),
        ("train -m optimizer.lr=interval(1,2)", "(1,2): values are drawn by another sweeper: add hydra/sweeper=optuna"),
        ("train sweep.tune=true sweep.tuned=x", "sweep.tune is for several runs: add -m"),
        ("train hydra.sweep.dir=x hydra.sweep.subdir=y", "hydra.sweep.dir is for several runs: add -m"),
        ("train -m seed=1,2 sweep.tune=true sweep.tuned=", "a path is empty"),
        ("train -m seed=1,2 sweep.tune=true sweep.tuned=.", "sweep.tuned must be a file, and . is a folder"),
        ("train -m seed=1,2 sweep.tune=true sweep.tuned=x sweep.published=.", "set sweep.published=null"),
        ("train --config-name eval", "--config-dir FOLDER experiment=NAME"),
        ("bench data bench.text=null", "bench.text must be the name of a text or a list of names, not None"),
        ("train optimizer.lr=interval(1,2)", "optimizer.lr=interval(1,2) means several runs: add -m"),
        ("prepare data.name=a/b", "data.name must be a name for a folder, not 'a/b'"),
        ("train model.name=..", "model.name must be a name for a folder, not '..'"),
        ("train trainer.epochs=0", "trainer.epochs must be above 0"),
        ("train trainer.ema=1", "trainer.ema must be at least 0 and below 1"),
        ("train trainer.ema=-0.1", "trainer.ema must be at least 0 and below 1"),
        ("train trainer.devices=0", "trainer.devices must be auto or at least 1, not 0"),
        ("train optimizer.name=sgd", "optimizer.name must be adam or muon, not 'sgd'"),
        ("train optimizer.schedule=cosine", "optimizer.schedule must be inverse-sqrt or linear, not 'cosine'"),
        ("train optimizer.name=muon optimizer.momentum=1", "optimizer.momentum must be at least 0 and below 1"),
        ("train optimizer.muon_lr=0", "optimizer.muon_lr must be above 0"),
        ("train optimizer.weight_decay=-0.1", "optimizer.weight_decay must be at least 0"),
        ("train optimizer.cooldown=1.5", "optimizer.cooldown must be from 0 to 1, not 1.5"),
        ("train seed=-1", "seed must be from 0"),
        ("train data.clean=strict", "data.clean must be standard or fairseq, not 'strict'"),
        ("prepare data.tokenizer=word", "data.tokenizer must be bpe or unigram, not 'word'"),
        ("train data.sampling=1", "data.sampling must be at least 0 and below 1"),
        ("train data.context_tokens=512", "data.max_len must be at least 512"),
        ("train position=t5 model.attention=linear", "and model.attention=linear has none: take one of none, sinu"),
        (
            "train position=rope position.scaling=yarn position.factor=2 model.attention=linear",
            "position.scaling=yarn makes scores larger, and model.attention=linear has none: take another",
        ),
        (
            "train position=rope position.cross_attention=true model.attention=linear model.feature_map=favor",
            "leave out position.cross_attention=true, or take model.feature_map=elu",
        ),
        ("train position=learned position.max_len=100", "position.max_len must be at least data.max_len=256, not 100"),
        ("train position=rope position.layout=halves", "position.layout must be interleaved or half, not 'halves'"),
        ("train position=rope position.fraction=0", "position.fraction must be above 0 and at most 1, not 0.0"),
        ("train model.n_features=7", "model.n_features must be even, above 0, not 7"),
        ("train model.n_features=8", "model.n_features must be 256 without model.feature_map=favor, not 8"),
        ("train model.feature_map=favor", "model.feature_map must be elu without model.attention=linear, not 'favor'"),
        ("train optimizer.name=adam optimizer.momentum=0.5", "must be 0.95 without optimizer.name=muon, not 0.5"),
        ("bench", "one thing to measure must be given: data or decode or schemes or train, as in rope-mt bench data"),
        ("bench data schemes", "one thing to measure must be given"),
        ("bench schmes", "'schmes', only data or decode or schemes or train; did you mean rope-mt bench schemes"),
        ("bench nonsense", "'nonsense', only data or decode or schemes or train, as in rope-mt bench data"),
        ("bench data bench.steps=3", "no setting bench.steps; bench has json, pairs, text, batch_tokens"),
        ("bench schemes bench.steps=0", "bench.steps must be at least 1, not 0"),
        ("bench train bench.schemes=[rope]", "no setting bench.schemes; bench has count, gpu, "),
        ("bench schemes bench.schemes=[rop]", " or rope, not 'rop'"),
        ("bench decode bench.systems=[transformers]", "bench.systems must be a list with rope-mt"),
        ("bench decode bench.systems=[rope-mt,marian]", "must be rope-mt or transformers or ctranslate2, not 'marian'"),
        ("bench decode bench.rounds=0", "bench.rounds must be at least 1"),
        ("bench train bench.count=true bench.gpu=GTX", "bench.gpu must be H200 or H100 or A100 or RTX4090"),
        ("bench train position=t5 model.attention=linear", "position=t5 acts on scores"),
        ("translate RUN The dog sleeps.", "text comes from standard input, as in: echo TEXT | rope-mt translate RUN"),
        (f"compare {'a' * 300}", f"{'a' * 60}…: File name too long"),
        ("translate RUN device=gpu", "device must be auto or cpu or cuda or mps, not 'gpu'"),
        # values that are missing, or point nowhere
        ("train data=files", "data.train must be given: write data.train=FILE.tsv (SOURCE, TAB, TARGET in each line)"),
        ("train data=files data.train=a data.columns=[1]", "data.columns must be two different numbers from 1 on"),
        ("prepare data=files data.train=a data.columns=[2,2]", "data.columns must be two different numbers from 1 on"),
        ("train data.dir=", "a path is empty: is a variable of the shell not set?"),
        ("analyze decay --out=", "a path is empty: is a variable of the shell not set?"),
        ("analyze decay lengths", "no such checkpoint: lengths"),
        ("ls .", "there is no run in ."),
        ("compare .", "no finished run in .: name run folders, as in outputs/*"),
        ("train ~position", "position must be given: add position=VALUE"),
        ("eval", "checkpoint must be given: name a run or a checkpoint"),
        ("train data.dir=${nope}", "Interpolation key 'nope' not found; a name with ${ in it is written \\${"),
        ("train data.dir=${oc.env:NO_SUCH_NAME}", "needs the environment variable NO_SUCH_NAME: set it, or give data"),
        # words that are no setting
        ("train seed", "cannot read 'seed': a setting is written KEY=VALUE"),
        ("train optimizer.name='x", 'cannot read "optimizer.name=\'x"'),
        ("train =3", "=3 does not name an option"),
        ("train sweep.fail_fast=true", "sweep.fail_fast is for several runs: add -m"),
        ("train sweep.published=nowhere", "sweep.published: there is no folder nowhere"),
        ("train tracking.project=Q&A", """write a text with '&' in it as 'tracking.project='"'"'Q&A'"'"''\n"""),
        ("train -m seed=shuffle(1,2)", "seed=shuffle(1,2): jobs are not shuffled here"),
        ("train -m experiment=long-text,extrapolation", "do not run the same jobs: start them one by one"),
        ("train -m experiment=extrapolation,linear", "do not run the same jobs: start them one by one"),
        ("train -m experiment=multi30k,mixed", "do not run the same jobs: start them one by one"),
        ("train -m seed=1,2 trainer.machines=1,2", "a sweep trains on this machine alone: with trainer.machines train"),
        # flags
        ("train --multrun seed=1,2", "no flag --multrun; did you mean --multirun?"),
        ("eval RUN --outptu x", "there is no flag --outptu; rope-mt eval --help lists them"),
        ("bench train --count", "there is no flag --count: write bench.count=VALUE"),
        ("prepare --multirun=data=toy", "--multirun/-m: takes no value, not 'data=toy'"),
        ("train --cfg=jb", "invalid choice: 'jb'"),
        ("train --cfg job -m", "--multirun and --cfg cannot be given together"),
        ("train --resolve", "--resolve needs --cfg or --help"),
        ("train --config-dir nowhere", "there is no folder nowhere"),
        ("train -m hydra.sweep.dir=x seed=1,2", "hydra.sweep.subdir"),
        ("train experiment=schemes hydra.sweep.dir=x", "hydra.sweep.subdir"),
        ("train -m hydra.run.dir=x seed=1,2", "hydra.run.dir is for one run: for several take hydra.sweep.dir"),
        ("train -m hydra/launcher=local overwrite=true seed=1,2", "whenever it is requeued: remove the runs first"),
        ("analyze", "the following arguments are required: SUBJECT"),
        ("analyze deca", "invalid choice: 'deca'"),
        ("analyze --out x decay", "invalid choice: 'x'"),
        ("analyze decay --theta x", "--theta: invalid float value: 'x'"),
        ("analyze decay --d 7", "--d must be even"),
        ("analyze decay --theta 1", "--theta must be above 1"),
        ("analyze decay --longest 0", "--longest must be at least 1"),
        ("analyze convergence --nope 3 RUN", "unrecognized arguments: --nope"),
        # habits from other programs
        ("train --position alibi", "there is no flag --position: write position=alibi"),
        ("train position=rope --seed=7", "there is no flag --seed=7: write seed=7"),
        ("train --learning-rate 0.1", "write optimizer.lr=0.1"),
        ("train --epochs 3", "write trainer.epochs=3"),
        ("train --gpus 2", "write trainer.devices=2"),
        ("train --continue", "the same command goes on with a run: leave out --continue"),
        ("translate --beam 5 run", "write search.beam=5"),
        ("train --dryrun", "there is no flag --dryrun; did you mean --dry-run?"),
        ("train --experimental-rerun foo", "there is no file foo"),
        ("-sc install=tcsh", "write -sc install=SHELL, with one of bash, fish, zsh"),
        ("train position t5", "write position=t5"),
        ("train small", "write model=small"),
        ("train data=my/text.tsv", "write data=files data.train=my/text.tsv"),
        ("train {run}", "{run} is a run: its own command goes on with it, and stands in {run}/run.json"),
        ("prepare {run}/run.json", "for text of your own write data=files data.train={run}/run.json"),
        ("eval nowhere", "no such run or checkpoint: nowhere"),
        ("eval {run}/checkpoints", "holds the checkpoints of a run: name the run, {run}, or one of"),
        ("eval --dry-run {run}", "--dry-run is for train, not for eval"),
        ("eval {run} {run}/checkpoints {run}", "eval takes one run, not 3: name {run} or another alone"),
        ("eval {text}.en", "{text}.en is not a checkpoint of rope-mt"),
        ("translate {run}", "{run} holds no finished run"),
        ("prepare data=files data.train={text} data.valid={text} data.test={text}", "{text}.en has 2 lines"),
        ("prepare data=files data.train=nowhere data.valid={text}", "no such text: nowhere; give FILE.tsv"),
        ("train hydra.run.dir={text}.en/run", "{text}.en is no folder"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(rope_mt, tmp_path, line, answer):
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.identity.touch()
    text = str(tmp_path / "text")
    for lang, lines in (("en", "one\ntwo\n"), ("de", "eins\n")):
        Path(f"{text}.{lang}").write_text(lines)
    line, answer = (words.replace("{run}", str(run.path)).replace("{text}", text) for words in (line, answer))
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


def test_a_device_that_is_not_here_is_refused_at_once_unless_jobs_run_elsewhere(rope_mt, monkeypatch):
    monkeypatch.setattr("rope_mt.system.surroundings.GPU_DRIVERS", ("no-such-driver",))
    for command, setting in (("train", "trainer.device"), ("bench schemes", "device")):
        output = rope_mt(*command.split(), f"{setting}=cuda")
        assert (output.code, output.out) == (2, "")
        assert output.err == f"rope-mt: this machine has no cuda device: use {setting}=cpu, or auto\n"
    words = ["trainer.device=cuda", "seed=1,2", "hydra/launcher=local"]
    assert len(planned("train", {"--multirun": True}, words, command_schema("train")).configs) == 2
