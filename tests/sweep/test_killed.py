"""A sweep killed at any moment and typed again ends as one left alone. For longer: tests/soak/killed_sweep.py."""

import random

from rope_mt.data import toy

from .. import warm
from .killed import comparison, finish, killed_twice, results


def test_a_sweep_killed_twice_ends_as_one_left_alone(tmp_path):
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        for side, lang in enumerate(("en", "de")):
            (tmp_path / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    words = [f"data.{part}={tmp_path / part}" for part in ("train", "valid", "test")]
    words += ["data=files", "data.vocab_size=450", "data.batch_tokens=1000", f"data.dir={tmp_path / 'data'}"]
    words += ["model.d_model=32", "model.d_ff=64", "model.n_heads=2", "model.n_layers=1", "model.dropout=0.1"]
    words += ["search=greedy", "search.max_len_a=0.2", "search.max_len_b=2", "tracking=none", "position=rope,none"]
    words += ["trainer.max_steps=60", "trainer.val_every=10", "trainer.val_sentences=2", "trainer.log_every=2"]
    words += ["trainer.device=cpu"]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
    finish(warm.start, words, alone)
    killed_twice(warm.start, words, killed, 2 * 60, random.Random())
    assert len(results(alone)) == 2
    assert results(killed) == results(alone)
    assert comparison(killed) == comparison(alone)
