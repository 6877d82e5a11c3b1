"""`sweep.tune=true`: which settings of each scheme are chosen, held against what the runs and `eval` print."""

import json
import re
from pathlib import Path

import pytest
import yaml

from rope_mt.sweep import tuning

from ..small import write_corpus

MODEL = ["model.d_model=32", "model.d_ff=64", "model.n_heads=2", "model.n_layers=1", "data.vocab_size=450"]
RECIPE = ["experiment=tune", "model.norm=pre", "optimizer.name=muon", "optimizer.schedule=linear", "tracking=none"]
SHORT = ["trainer.max_steps=40", "trainer.val_every=40", "trainer.val_sentences=24", "optimizer.warmup_steps=4"]
SEARCH = ["search.beam=3", "data.batch_tokens=1000", "trainer.precision=fp32", "sweep.tuned=chosen/few.yaml"]
PENALTIES = (0.0, 0.9, 1.8)


def test_each_scheme_gets_the_settings_of_its_best_run_and_the_penalty_of_the_nearest_length(
    rope_mt, monkeypatch, capsys
):
    monkeypatch.setattr(tuning, "PENALTIES", PENALTIES)
    train, valid, _ = write_corpus(Path("text"), n_train=300, n_valid=24)
    references = Path(f"{valid}.de").read_text().splitlines()
    short = [line.split()[0] + ".\n" for line in references]  # this model's translations are short, too
    Path(f"{valid}.de").write_text("".join(short))
    words = ["data=files", f"data.train={train}", f"data.valid={valid}", "data.name=few", *MODEL, *RECIPE, *SHORT]
    words += [*SEARCH, "model.dropout=0.0"]
    done = rope_mt("train", *words, "position=rope,none", "optimizer.lr=1e-4,8e-3")
    assert done.code == 0, done.err
    chosen = yaml.safe_load(Path("chosen/few.yaml").read_text())
    assert sorted(chosen) == ["none", "rope"]
    best = {}
    for file in Path("outputs").glob("few-*/result.json"):
        result = json.loads(file.read_text())
        loss = result["valid"]["loss"]
        if loss < best.get(result["position"], (99,))[0]:
            best[result["position"]] = loss, yaml.safe_load(file.with_name("config.yaml").read_text()), file.parent
    for scheme, (loss, config, _) in best.items():
        assert chosen[scheme]["lr"] == config["optimizer"]["lr"] == 8e-3
        assert (chosen[scheme]["dropout"], chosen[scheme]["valid_loss"]) == (0.0, round(loss, 4))
    ratios = {}
    for penalty in PENALTIES:
        printed = rope_mt("eval", str(best["rope"][2]), f"search.length_penalty={penalty}").out
        ratios[penalty] = float(re.findall(r"ratio = ([\d.]+)", printed)[0])
    assert min(ratios.values()) < 1 < max(ratios.values())
    assert chosen["rope"]["length_ratio"] == pytest.approx(ratios[chosen["rope"]["length_penalty"]], abs=0.0006)
    assert abs(ratios[chosen["rope"]["length_penalty"]] - 1) == min(abs(ratio - 1) for ratio in ratios.values())

    Path("chosen/few.yaml").write_text("t5: {lr: 1.0}\n")  # a scheme that was tuned before stays
    assert rope_mt("train", *words, "position=rope", "optimizer.lr=1e-4,8e-3").code == 0
    assert yaml.safe_load(Path("chosen/few.yaml").read_text()) == {"t5": {"lr": 1.0}, "rope": chosen["rope"]}

    diverged = {"position": "t5", "valid": {"loss": None}}
    monkeypatch.setattr(tuning, "read_result", lambda run: diverged)
    assert tuning.tune([Path("run")], Path("chosen/few.yaml")) == {}
    assert capsys.readouterr().err == "rope-mt: t5: no run has a finite validation loss\n"
    assert yaml.safe_load(Path("chosen/few.yaml").read_text()) == {"rope": chosen["rope"]}
