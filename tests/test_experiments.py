"""Every experiment composes with the schemes, and says what its file promises."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from rope_mt.config.commands import TrainConfig, register
from rope_mt.config.files import conf_dir
from rope_mt.config.position import POSITION_CONFIGS, PositionsConfig
from rope_mt.data import text
from rope_mt.data.corpus import locate
from rope_mt.data.datamodule import TranslationData
from rope_mt.data.prepare import prepare

EXPERIMENTS = sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml"))


def composed(*overrides: str) -> TrainConfig:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        cfg = OmegaConf.to_object(compose("train", list(overrides)))
    assert isinstance(cfg, TrainConfig)
    return cfg


def write_tuned(*schemes: str) -> None:
    """What experiment=news-tune may have chosen."""
    file = Path("outputs/published/tuned-news.yaml")
    file.parent.mkdir(parents=True)
    lines = (f"{name}: {{lr: {i}e-3, dropout: 0.{i}, length_penalty: 1.{i}}}\n" for i, name in enumerate(schemes, 2))
    file.write_text("".join(lines))


@pytest.mark.parametrize(
    ("experiment", "scheme"),
    # one with a table of positions, which a long text could outgrow, and one without
    [(experiment, scheme) for experiment in EXPERIMENTS for scheme in ("learned", "rope")],
)
def test_an_experiment_takes_a_scheme(experiment, scheme, here, monkeypatch):
    monkeypatch.setenv("ROPE_MT_CORPORA", "corpora")  # which data=mixed reads
    write_tuned("learned", "rope")
    overrides = [f"experiment={experiment}", f"position={scheme}"]
    if experiment == "long-text":
        overrides.append("data.context_tokens=1024")
    assert composed(*overrides).position == POSITION_CONFIGS[scheme]()


@pytest.mark.parametrize(("data", "cap"), [("toy", 24), ("multi30k", 14), ("wmt14", 24)])
def test_extrapolation_caps_training_and_joins_up_to_the_cap(data, cap):
    cfg = composed("experiment=extrapolation", f"data={data}")
    assert (cfg.data.max_len, cfg.data.context_tokens) == (cap, cap)


def test_roformer_is_the_recipe_of_section_4_1():
    cfg = composed("experiment=roformer")
    assert (cfg.data.name, cfg.data.vocab_size, cfg.model.name, cfg.model.norm) == ("wmt14", 37_000, "base", "post")
    optimizer = cfg.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.lr, optimizer.label_smoothing) == (0.9, 0.98, 5e-4, 0.1)
    assert (cfg.search.beam, cfg.search.length_penalty, cfg.trainer.average) == (4, 0.6, 5)


@pytest.mark.parametrize("tokens", [512, 1024])
def test_long_text_joins_and_keeps_examples_of_the_whole_context(tokens):
    cfg = composed("experiment=long-text", f"data.context_tokens={tokens}")
    assert (cfg.data.context_tokens, cfg.data.max_len) == (tokens, tokens)


def test_the_comparison_on_multi30k_scores_both_test_sets_and_can_be_cut_to_short_text():
    cfg = composed("experiment=multi30k")
    assert (cfg.data.name, cfg.model.name, cfg.model.norm, cfg.optimizer.name) == ("multi30k", "small", "pre", "muon")
    assert [*cfg.data.named_tests] == ["test_2017_flickr"]
    short = composed("experiment=multi30k-short")
    assert (short.data.max_len, short.data.context_tokens, short.data.joined_tests) == (14, 14, [2, 4, 8])
    assert (short.optimizer, short.model, short.search) == (cfg.optimizer, cfg.model, cfg.search)
    assert short.data.further_tests == cfg.data.further_tests


def test_news_takes_the_settings_that_were_chosen_for_each_scheme_and_tuning_reads_no_test_set(here, monkeypatch):
    monkeypatch.setenv("ROPE_MT_CORPORA", "corpora")
    write_tuned("rope", "t5")
    news = {scheme: composed("experiment=news", f"position={scheme}") for scheme in ("rope", "t5")}
    found = [(cfg.optimizer.lr, cfg.model.dropout, cfg.search.length_penalty) for cfg in news.values()]
    assert found == [(0.002, 0.2, 1.2), (0.003, 0.3, 1.3)]
    cfg = news["rope"]
    assert (cfg.data.name, cfg.data.vocab_size, cfg.model.name) == ("mixed", 16_000, "small")
    assert cfg.data.valid == ["corpora/test/newstest2013.en-de"]
    judge = [*cfg.data.test, *cfg.data.further_tests]
    assert judge == ["corpora/test/newstest2014.en-de", "corpora/test/newstest2015.en-de"]
    tune = composed("experiment=news-tune", "position=rope", "optimizer.lr=8e-3", "model.dropout=0.2")
    assert (tune.data.test, tune.data.further_tests) == (tune.data.valid, [])
    assert (tune.trainer.max_steps, tune.sweep.tune, tune.sweep.tuned) == (1200, True, cfg.sweep.tuned)
    same = {"test", "further_tests"}
    assert all(value == getattr(cfg.data, name) for name, value in vars(tune.data).items() if name not in same)
    with pytest.raises(Exception, match=r"tuned-news.yaml has no dropout for alibi: tune it first"):
        composed("experiment=news", "position=alibi")


@pytest.mark.parametrize(
    ("words", "positions"),
    [
        (["position=t5", "positions=random", "positions.reach=256"], PositionsConfig("random", 256)),
        (["position=sinusoidal-add", "positions=shifted"], PositionsConfig("shifted", 500)),
        (["position=relative"], PositionsConfig()),
    ],
)
def test_lengths_differ_in_scheme_and_positions_alone(words, positions, monkeypatch):
    monkeypatch.setenv("ROPE_MT_CORPORA", "corpora")
    cfg = composed("experiment=lengths", *words)
    assert (cfg.positions, cfg.data.max_len, cfg.data.context_tokens) == (positions, 40, 40)
    rope = composed("experiment=lengths", "position=rope")
    assert replace(cfg, position=rope.position, positions=rope.positions) == rope


def test_three_in_ten_training_examples_of_lengths_are_neighbouring_sentences_joined(corpora, tmp_path):
    """The first documents of the text; a smaller vocabulary makes longer sentences, of which fewer are joined."""
    cfg = composed("experiment=lengths").data
    [(source, target)] = text.pairs_of_files(cfg.train, "en", "de")
    marks = text.documents(source)
    assert marks is not None
    for ending, file in (("en", source), ("de", target), ("docs", marks)):
        (tmp_path / f"few.{ending}").write_bytes(b"".join(line + b"\n" for line in islice(text.lines(file), 4_000)))
    located = locate(replace(cfg, train=[str(tmp_path / "few")], vocab_size=4_000, dir=str(tmp_path / "data")))
    prepared = prepare(located.cfg, located)
    data = TranslationData(located.cfg, prepared, located.valid, seed=1)
    firsts = np.concatenate(([0], prepared.map("src.lengths").cumsum(dtype=np.int64)))
    pairs = np.diff(np.searchsorted(firsts, data.pairs.src.offsets))[data.plan.rows]  # in each example
    assert (pairs > 1).mean() >= 0.3
    assert max(side.lengths[data.plan.rows].max() for side in (data.pairs.src, data.pairs.tgt)) == 41  # with eos
    assert text.documents(located.test[0][0])  # so that analyze lengths joins neighbours of a document there, too
