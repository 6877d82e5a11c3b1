"""The commands of a report compose to the settings that the runs had."""

import shlex
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from rope_mt.config.commands import register
from rope_mt.config.files import conf_dir
from rope_mt.config.plain import to_plain
from rope_mt.study.compare.groups import Group
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.study.report import again


def composed(words: list[str]) -> dict:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return to_plain(OmegaConf.to_object(compose("train", words)))


def test_the_command_that_is_given_makes_the_same_settings(monkeypatch):
    given = ["data=multi30k", "model=small", "data.dir=/a b", "search.beam=7", "data.context_tokens=9"]
    given += [
        "model.norm=pre",
        "data.further_tests=[x/z]",
        "data.test=[x/y,'/a b/test']",
        "trainer.ema=0.9",
        "data.drop_identical=true",
    ]

    def group(*words: str, given: list[str] = given) -> Group:
        config = composed([*given, *words])
        result = {"position": config["position"]["name"], "seed": config["seed"], "processes": 1, "precision": "fp32"}
        return Group(result["position"], [FinishedRun(Path("a"), result, config)])

    groups = [group("position=rope", "seed=3"), group("position=alibi", "seed=3")]
    groups.append(group("position=rope", "seed=4", "position.theta=500"))
    lines, without = again.train_commands(groups)
    assert without == []
    words = [shlex.split(line) for line in lines]
    assert words[0][:5] == ["rope-mt", "train", "-m", "position=rope,alibi", "seed=3"]
    assert words[1][:4] == ["rope-mt", "train", "position=rope", "seed=4"]
    for line, of in (([*words[0][4:], "position=alibi"], groups[1]), (words[1][2:], groups[2])):
        wanted, made = of.runs[0].config, composed(line)
        wanted["tracking"] = made["tracking"]
        assert made == wanted
    groups[2].runs[0].result["precision"] = "bf16"  # which auto made of it on another machine
    assert [line.split()[-1] for line in again.train_commands(groups)[0]] == [
        "trainer.precision=fp32",
        "trainer.precision=bf16",
    ]
    groups[1].runs[0].result["processes"] = 2
    said = [line for line in again.train_commands(groups)[0] if "alibi" in line]
    assert [line[:64] for line in said] == ["torchrun --nproc-per-node 2 -m rope_mt train position=alibi seed"]
    groups[0].runs[0].config["model"]["name"] = "huge"
    lines, [said] = again.train_commands(groups[:1])
    assert lines == []
    assert said.startswith("rope: no command, since this version cannot compose its settings: ")

    monkeypatch.setattr(again, "_value", lambda value: "1")
    lines, [said] = again.train_commands([group("search.beam=7", given=[])])  # beam=1 would be another run
    assert lines == []
    assert said.startswith("rope: no command, ")
