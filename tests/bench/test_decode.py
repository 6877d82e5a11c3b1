"""`rope-mt bench decode`: all systems do the same work, and what is printed follows from how long they took."""

import json
from dataclasses import replace

import pytest
import torch

from rope_mt.bench import decode
from rope_mt.bench.bench import bench
from rope_mt.bench.decode import fastest, seconds, sentences, summary, table, untrained
from rope_mt.bench.decoders import SYSTEMS, CTranslate2, Ours, Transformers, Work, precisions
from rope_mt.cli.main import main
from rope_mt.config.commands import BenchDecodeConfig, BenchDecodeSettings
from rope_mt.config.data import DataConfig
from rope_mt.config.position import RopeConfig, T5Config
from rope_mt.config.training import ModelConfig
from rope_mt.data import toy
from rope_mt.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> BenchDecodeConfig:
    folder = tmp_path_factory.mktemp("text")
    corpus = toy.generate(n_train=300, n_valid=4, n_test=9)
    for name, pairs in (("train", corpus.train), ("test", corpus.test)):
        for side, lang in enumerate(("en", "de")):
            (folder / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    train, test = str(folder / "train"), str(folder / "test")
    return BenchDecodeConfig(
        data=DataConfig("files", train, test, test, vocab_size=450, dir=str(folder)),
        bench=BenchDecodeSettings(rounds=2, sentences=7, beam=3),
        model=ModelConfig("test", d_model=24, d_ff=40, n_heads=2, n_layers=1, dropout=0.0),
        position=RopeConfig(),
        device="cpu",
    )


@pytest.fixture(scope="module")
def work(cfg) -> Work:
    return sentences(cfg, untrained(cfg).tokenizer)


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_makes_each_hypothesis_as_long_as_its_reference(cfg, work, name):
    ckpt = untrained(cfg)
    for precision in precisions(name, CPU):
        system = SYSTEMS[name](ckpt, 3, CPU, precision)
        sizes, threads = system.choices()
        for setting in ({**sizes[0], **threads[0]}, {**sizes[-1], **threads[-1]}):
            system.use(setting)
            assert system.decode(work) == work.lengths


def test_references_of_the_test_set_say_how_long(cfg, work):
    tokenizer = untrained(cfg).tokenizer
    corpus = toy.generate(n_train=300, n_valid=4, n_test=9)
    src, ref = zip(*corpus.test[:7], strict=True)
    assert tokenizer.decode(work.sources) == list(src)
    assert work.lengths == [len(ids) + 1 for ids in tokenizer.encode(list(ref))]


def test_a_system_that_does_less_work_is_found_out(cfg, work):
    class Lazy(Ours):
        def decode(self, work: Work) -> list[int]:
            return super().decode(Work(work.sources, [n - 1 for n in work.lengths]))

    with pytest.raises(AssertionError, match="as long as its reference"):
        seconds(Lazy(untrained(cfg), 3, CPU, "fp32"), work, CPU)


def test_the_fastest_setting_is_chosen(work, monkeypatch, capsys):
    class Clock:
        now = 0.0

    class System:
        def choices(self):
            return [[{"size": n} for n in (8, 16, 32)], [{"threads": n} for n in (1, 2)]]

        def use(self, setting):
            self.setting = setting

        def decode(self, work):
            Clock.now += {8: 3.0, 16: 1.0, 32: 2.0}[self.setting["size"]] * self.setting["threads"]
            return work.lengths

    monkeypatch.setattr(decode.time, "perf_counter", lambda: Clock.now)
    assert fastest("a system", System(), work, CPU) == {"size": 16, "threads": 1}
    assert capsys.readouterr().err == "a system: size 16, threads 1\n"


def test_rates_are_compared_within_a_round():
    rounds = [
        {"rope-mt fp32": 4.0, "rope-mt bf16": 2.0, "transformers fp32": 6.0},
        {"rope-mt fp32": 3.0, "rope-mt bf16": 5.0, "transformers fp32": 6.0},
        {"rope-mt fp32": 3.0, "rope-mt bf16": 1.0, "transformers fp32": 8.0},
    ]
    found = summary(rounds, tokens=120, chosen={name: {"threads": 1} for name in rounds[0]})
    theirs = found["transformers fp32"]
    assert theirs["tokens/s"] == 20
    assert (theirs["least"], theirs["ours is faster by"], theirs["most"]) == (2.0, 3.0, 8.0)
    assert "3.00 x    2.00 to 8.00   threads 1" in table(found)[3]


def test_every_system_is_printed_and_json_says_the_same(cfg, capsys, monkeypatch):
    for system in (Ours, Transformers, CTranslate2):  # one setting each, for time
        every = system.choices
        monkeypatch.setattr(system, "choices", lambda self, every=every: [options[:1] for options in every(self)])
    bench(cfg)
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split()[:2] for line in printed[printed.index("") + 2 :]]
    assert rows == [[name, precision] for name in SYSTEMS for precision in precisions(name, CPU)]
    bench(replace(cfg, bench=replace(cfg.bench, json=True, systems=["rope-mt"])))
    found = json.loads(capsys.readouterr().out)
    assert found["sentences"] == 7
    assert all(name.startswith("rope-mt") for name in found["systems"])
    assert found["systems"]["rope-mt fp32"]["tokens/s"] == pytest.approx(
        found["target tokens"] / found["systems"]["rope-mt fp32"]["seconds"]
    )


def test_what_ctranslate2_cannot_run_is_left_out_with_a_line_and_refused_where_it_is_asked_for(cfg, capsys):
    t5 = replace(cfg, position=T5Config())
    assert decode.able(cfg, CPU) == [*SYSTEMS]
    assert decode.able(t5, CPU) == ["rope-mt", "transformers"]
    assert capsys.readouterr().err.startswith("without ctranslate2: position=t5 is not exported to CTranslate2")
    with pytest.raises(UserError, match="position=t5 is not exported to CTranslate2"):
        decode.measure(replace(t5, bench=replace(cfg.bench, systems=["rope-mt", "ctranslate2"])))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["bench.systems=[transformers]"], "a list with rope-mt"),
        (["bench.systems=[rope-mt,marian]"], "bench.systems must be rope-mt or transformers or ctranslate2"),
        (["bench.rounds=0"], "bench.rounds must be at least 1"),
    ],
)
def test_mistakes_are_named(words, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "decode", *words]) == 2
    assert complaint in capsys.readouterr().err
