"""The scheme of the README trains by its name, with no other file edited; test_laws.py holds it to all laws."""

import json

from rope_mt.cli.main import main

from ..training.killed_run import words
from .readme_example import NAME, YAML


def test_the_example_trains_by_its_name(here):
    (here / "mine/position").mkdir(parents=True)
    (here / f"mine/position/{NAME}.yaml").write_text(YAML)
    typed = [*words(here), "trainer.max_steps=1", "trainer.val_every=1"]
    assert main(["train", f"position={NAME}", "--config-dir", "mine", *typed]) == 0
    [run] = (here / "outputs").glob("files-*")
    assert json.loads((run / "result.json").read_text())["steps"] == 1
    assert f"-{NAME}-" in run.name
