"""What a refactor must leave as it is, bit for bit: python tests/soak/golden.py FILE

The first call writes FILE, later calls compare with it and name what differs. Two minutes on two cores. Numbers are
those of one machine: make FILE before the change, on the machine on which it is compared.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "COLUMNS": "100"}

STEPS = 20
SOFTMAX = "none,sinusoidal-add,learned,relative,transformer-xl,t5,tupe,deberta,alibi,rope"
LINEAR = "none,sinusoidal-add,learned,rope"
SENTENCES = 24


def rope_mt(*words: str) -> str:
    """What a command prints."""
    from rope_mt.__main__ import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([*words]) == 0, words
    return printed.getvalue()


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def of_run(folder: Path) -> dict[str, Any]:
    """Losses of all steps, and digests of the weights, the translations and the settings."""
    from rope_mt.runs.checkpoint import load

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load(folder).weights
    parts = [part for name in sorted(weights) for part in (name.encode(), weights[name].numpy().tobytes())]
    result = json.loads((folder / "result.json").read_text())
    return {
        "losses": [row["train/loss"].hex() for row in rows if "train/loss" in row],
        "validation loss": result["valid"]["loss"].hex(),
        "weights": sha256(*parts),
        "hypotheses": sha256((folder / "test.hyp").read_bytes()),
        "key": result["key"],
    }


def record() -> dict[str, Any]:
    """All of it, made in a temporary folder."""
    values: dict[str, Any] = {}
    os.chdir(ROOT)
    for name in ("multi30k", "multi30k-short"):
        runs = sorted(map(str, Path("outputs/published", name).iterdir()))
        for form in ("", "--json", "--csv", "--markdown"):
            values[f"compare {name} {form}".strip()] = rope_mt("compare", *runs, *filter(None, [form]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rope_mt("prepare")
        toy = Path("data/toy")
        values["toy text"] = {file.name: sha256(file.read_bytes()) for file in sorted(toy.glob("t*.??"))}
        for lang in ("en", "de"):
            lines = (toy / f"test.{lang}").read_text(encoding="utf-8").splitlines(keepends=True)
            Path(f"few.{lang}").write_text("".join(lines[:SENTENCES]), encoding="utf-8")
        words = [f"trainer.max_steps={STEPS}", f"trainer.val_every={STEPS // 2}", "trainer.val_sentences=8"]
        words += ["trainer.log_every=1", "model.dropout=0.1", "data.valid=few", "data.test=few", "tracking=none"]
        words += ["hydra.sweep.dir=runs", "hydra.sweep.subdir=${model.attention}-${position.name}"]
        for attention, schemes in (("softmax", SOFTMAX), ("linear", LINEAR)):
            rope_mt("train", "-m", f"position={schemes}", f"model.attention={attention}", *words)
        # what else changes how a step is made
        more = {
            "ema": ["trainer.ema=0.9", "trainer.accumulate=2", "data.sampling=0.1", "data.context_tokens=64"],
            "muon": ["experiment=speedrun"],
        }
        for name, others in more.items():
            rope_mt("train", *words[:-2], *others, f"hydra.run.dir=runs/{name}")
        for run in sorted(Path("runs").glob("*/result.json")):
            values[run.parent.name] = of_run(run.parent)
        os.chdir(ROOT)
    return values


def main() -> int:
    path = Path(sys.argv[1]).absolute()
    values = record()
    if not path.exists():
        path.write_text(json.dumps(values, indent=1))
        print(f"wrote {path}: {', '.join(values)}")
        return 0
    expected = json.loads(path.read_text())
    unlike = [name for name in {**expected, **values} if values.get(name) != expected.get(name)]
    for name in unlike:
        print(f"{name}:\n  was {json.dumps(expected.get(name))[:2000]}\n  is  {json.dumps(values.get(name))[:2000]}")
    print(f"{len(unlike)} of {len(values)} differ" if unlike else f"all {len(values)} are as they were")
    return bool(unlike)


if __name__ == "__main__":
    sys.exit(main())
