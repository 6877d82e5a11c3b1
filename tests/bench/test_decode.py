"""`rope-mt bench decode`: all systems do the same work, and the report follows from their times."""

import json
from collections import Counter
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch

from rope_mt.bench import count_search, decode, steps
from rope_mt.bench.bench import bench
from rope_mt.bench.count import Counting, Op
from rope_mt.bench.count_search import counted
from rope_mt.bench.decode import SYSTEMS, Ours, fastest, seconds, sentences, summary, table, untrained
from rope_mt.bench.peers import CTranslate2, Decoder, Setting, Work
from rope_mt.bench.steps import precisions
from rope_mt.config.commands import BenchDecodeConfig, BenchDecodeSettings
from rope_mt.config.position import RopeConfig, T5Config
from rope_mt.data import toy
from rope_mt.errors import UserError
from rope_mt.model.decoding import ROOM

CPU = torch.device("cpu")
SENTENCES = 5


@pytest.fixture
def cfg(small) -> BenchDecodeConfig:
    settings = BenchDecodeSettings(rounds=1, sentences=SENTENCES, beam=2)
    return BenchDecodeConfig(bench=settings, position=RopeConfig(), **small)


@pytest.fixture
def work(cfg) -> Work:
    return sentences(cfg, untrained(cfg).tokenizer)


def setting(system: Decoder, place: int) -> Setting:
    return {name: n for options in system.choices for name, n in options[place].items()}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_makes_each_hypothesis_as_long_as_its_reference(cfg, work, name, monkeypatch):
    if name == "ctranslate2":  # the others would wait long for a second core that is busy
        monkeypatch.setattr("rope_mt.bench.peers.cores", lambda: 2)
    ckpt = untrained(cfg)
    for precision in precisions(name, CPU):
        system = SYSTEMS[name](ckpt, 2, CPU, precision)
        for i in (0, -1):
            system.use(setting(system, i))
            assert system.decode(work) == [n for _, n in work]


def test_ctranslate2_is_loaded_anew_for_other_variables_alone(cfg, monkeypatch):
    system = CTranslate2(untrained(cfg), 2, CPU, "fp32")
    started = []
    monkeypatch.setattr("rope_mt.bench.peers.ProcessPoolExecutor", lambda *how: started.append(how) or MagicMock())
    for place in (0, 1, 1):
        system.use(setting(system, 0) | system.choices[0][place])
    assert [variables["CT2_USE_MKL"] for _, _, _, (variables, _) in started] == ["0", "1"]


def test_a_search_on_a_gpu_is_counted_without_one(cfg, work, monkeypatch):
    monkeypatch.setattr(count_search, "SIZES", (262_144,))
    report = decode.measure(replace(cfg, bench=replace(cfg.bench, count=True)))
    assert (report["sentences"], report["target tokens"]) == (SENTENCES, sum(n for _, n in work))
    whole = report["estimate"]["262,144 slots"]
    assert whole["batches"] == 1
    assert whole["search steps"] == max(n for _, n in work)
    host, gpu = (1e-3 * whole[f"milliseconds of the {what} for a step"] for what in ("host", "GPU"))
    assert host == pytest.approx(whole["ops of a step"] * 9e-6)
    assert host <= whole["seconds"] / whole["search steps"] <= host + gpu


def test_the_host_waits_for_all_ops_before_it_where_it_asks_for_a_value():
    small, large = (Op("mul", Counter({1: size}), Counter(), 0) for size in (10**6, 10**9))  # 1 us and 1 ms
    counting = Counting()
    settings = BenchDecodeSettings(bandwidth=1.25, launch=10.0)
    counting.ops = [large, small, small]
    assert count_search.seconds(settings, counting) == pytest.approx(1e-6 * (10 + 1000 + 1 + 1))
    counting.waited = [2]
    assert count_search.seconds(settings, counting) == pytest.approx(1e-6 * (10 + 1000 + 1 + 10 + 1))


def test_a_layer_more_is_six_products_and_two_attentions_more_and_no_wait(cfg):
    one, two = (counted(replace(cfg, model=replace(cfg.model, n_layers=n)), 300, 7, 9) for n in (1, 2))
    kinds = [Counter(op.kind for op in counting.ops) for counting in (one, two)]
    more = kinds[1] - kinds[0]
    assert (more["addmm"], more["_scaled_dot_product_flash_attention_for_cpu"]) == (6 * ROOM, 2 * ROOM)
    assert len(one.waited) == len(two.waited) == 2 * ROOM


def test_references_of_the_test_set_give_the_lengths(cfg, work):
    tokenizer = untrained(cfg).tokenizer
    src, ref = zip(*toy.generate(n_train=300, n_valid=2, n_test=9).test[:SENTENCES], strict=True)
    assert tokenizer.decode([ids for ids, _ in work]) == list(src)
    assert [n for _, n in work] == [len(ids) + 1 for ids in tokenizer.encode(list(ref))]


def test_a_system_that_does_less_work_is_noticed(cfg, work, monkeypatch):
    lazy = Ours(untrained(cfg), 2, CPU, "fp32")
    lazy.use(setting(lazy, 0))
    decode_all = lazy.decode
    monkeypatch.setattr(lazy, "decode", lambda work: decode_all([(source, n - 1) for source, n in work]))
    with pytest.raises(AssertionError, match="as long as its reference"):
        seconds(lazy, work)


def test_the_fastest_setting_is_chosen(work, monkeypatch, capsys):
    now = [0.0]

    class System(Decoder):
        device, choices = CPU, [[{"size": n} for n in (8, 16, 32)], [{"threads": n} for n in (1, 2)]]
        __init__ = object.__init__

        def decode(self, work: Work) -> list[int]:
            now[0] += {8: 3.0, 16: 1.0, 32: 2.0}[self.setting["size"]] * self.setting["threads"]
            return [n for _, n in work]

    monkeypatch.setattr(steps.time, "perf_counter", lambda: now[0])
    assert fastest("a system", System(), work) == {"size": 16, "threads": 1}
    assert capsys.readouterr().err == "a system: size 16, threads 1\n"


def test_rates_are_compared_within_a_round():
    rounds = [
        {"rope-mt fp32": 4.0, "rope-mt bf16": 2.0, "transformers fp32": 6.0},
        {"rope-mt fp32": 3.0, "rope-mt bf16": 5.0, "transformers fp32": 6.0},
        {"rope-mt fp32": 3.0, "rope-mt bf16": 1.0, "transformers fp32": 8.0},
    ]
    rows = summary(rounds, tokens=120, settings={name: {"threads": 1} for name in rounds[0]})
    theirs = rows["transformers fp32"]
    assert theirs["tokens/s"] == 20
    assert (theirs["least"], theirs["ours is faster by"], theirs["most"]) == (2.0, 3.0, 8.0)
    assert "3.00 x    2.00 to 8.00   threads 1" in table(rows)[3]


def test_every_system_is_in_json_and_in_the_table(cfg, capsys, monkeypatch):
    for system in SYSTEMS.values():  # one setting each, for time
        monkeypatch.setattr(system, "on_cpu", system.on_cpu[:1])
    monkeypatch.setattr(CTranslate2, "products", CTranslate2.products[:1])
    bench(replace(cfg, bench=replace(cfg.bench, json=True)))
    report = json.loads(capsys.readouterr().out)
    assert report["sentences"] == SENTENCES
    names = [[name, precision] for name in SYSTEMS for precision in precisions(name, CPU)]
    assert [*report["systems"]] == [" ".join(name) for name in names]
    ours = report["systems"]["rope-mt fp32"]
    assert ours["tokens/s"] == pytest.approx(report["target tokens"] / ours["seconds"])
    monkeypatch.setattr(decode, "measure", lambda cfg: report)
    bench(cfg)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[lines.index("") + 2 :]] == names


def test_a_system_that_cannot_run_is_skipped_with_a_line_or_refused_if_it_is_asked_for(cfg, capsys):
    t5 = replace(cfg, position=T5Config())
    assert decode.able(cfg, CPU) == [*SYSTEMS]
    assert decode.able(t5, CPU) == ["rope-mt", "transformers"]
    assert capsys.readouterr().err.startswith("without ctranslate2: position=t5 is not exported to CTranslate2")
    with pytest.raises(UserError, match="position=t5 is not exported to CTranslate2"):
        decode.measure(replace(t5, bench=replace(cfg.bench, systems=["rope-mt", "ctranslate2"])))
