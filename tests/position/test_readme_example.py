"""The scheme of the README trains by its name, with no other file edited; test_laws.py holds it to all laws."""

import json

from rope_mt.cli.main import main
from rope_mt.data import toy

from .readme_example import NAME, YAML


def test_the_example_trains_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/position").mkdir(parents=True)
    (tmp_path / f"mine/position/{NAME}.yaml").write_text(YAML)
    for lang, lines in zip(
        ("en", "de"), zip(*toy.generate(n_train=120, n_valid=1, n_test=1).train, strict=True), strict=True
    ):
        (tmp_path / f"text.{lang}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    words = ["data=files", "data.train=text", "data.valid=text", "data.test=text", "data.vocab_size=450"]
    words += ["model.d_model=32", "model.d_ff=64", "model.n_heads=2", "model.n_layers=1", "tracking=none"]
    words += ["trainer.max_steps=1", "trainer.val_every=1", "trainer.val_sentences=2", "trainer.device=cpu"]
    words += ["search=greedy", "search.max_len_a=0", "search.max_len_b=2"]
    assert main(["train", f"position={NAME}", "--config-dir", "mine", *words]) == 0
    [run] = (tmp_path / "outputs").glob("files-*")
    assert json.loads((run / "result.json").read_text())["steps"] == 1
    assert f"-{NAME}-" in run.name
