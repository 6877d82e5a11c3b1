"""`rope-mt bench decode bench.count=true`: the ops, bytes and waits of a search step on a GPU, counted without one.

Steps are taken with fake tensors, as in `count`. No hypothesis ends there and no sentence leaves its batch: so the GPU
has more to do than in a real search, and the host less, which writes down each hypothesis that ends. The number of
steps is that of the test set with hypotheses as long as their references.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rope_mt.bench.count import Counting, assumed, seconds_of
from rope_mt.bench.peers import Work
from rope_mt.config.commands import BenchDecodeConfig, CountSettings
from rope_mt.data.tokenizer import BOS, EOS, PAD
from rope_mt.model.decoding import ROOM, DecoderState
from rope_mt.model.search import beam_search
from rope_mt.model.transformer import Transformer
from rope_mt.system.device import computing_in
from rope_mt.translation.translator import Translator

CPU = torch.device("cpu")
SIZES = (8_192, 16_384, 65_536, 262_144)  # values of search.batch_tokens


class EnoughError(Exception):
    """The steps to count are done."""


def count_search(cfg: BenchDecodeConfig, translator: Translator, work: Work) -> dict[str, Any]:
    """Count the steps in the middle of a search, for each of SIZES with its middle batch of sentences."""
    lengths, steps_of = [len(source) for source, _ in work], [n for _, n in work]
    report = assumed(cfg.bench) | {"assumed": "an op is one kernel; the host goes on where it does not wait"}
    for size in SIZES:
        translator.search = replace(translator.search, beam=cfg.bench.beam, batch_tokens=size)
        batches = translator.batches(lengths, workers=1)
        middle = batches[len(batches) // 2]
        counting = counted(cfg, len(translator.tokenizer), len(middle), 1 + max(lengths[row] for row in middle))
        steps, of_step = (
            sum(max(steps_of[row] for row in rows) for rows in batches),
            seconds(cfg.bench, counting) / ROOM,
        )
        ops, moved = (total / ROOM for total in (len(counting.ops), sum(op.moved for op in counting.ops)))
        device, host = seconds_of(cfg.bench, moved, sum(op.flop for op in counting.ops) / ROOM, ops)
        report[f"{size:,} slots"] = {
            "batches": len(batches),
            "sentences of the middle batch": len(middle),
            "search steps": steps,
            "ops of a step": ops,
            "waits of a step": len(counting.waited) / ROOM,
            "MB of a step": moved / 1e6,
            "milliseconds of the GPU for a step": 1000 * device,
            "milliseconds of the host for a step": 1000 * host,
            "milliseconds of a step, with its waits": 1000 * of_step,
            "seconds": steps * of_step,
        }
    return report


def seconds(bench: CountSettings, counting: Counting) -> float:
    """The time of all ops: the host starts one after the other, and waits for all of them where it asks for a value."""
    host, gpu, waited = 0.0, 0.0, set(counting.waited)
    for number, op in enumerate(counting.ops):
        if number in waited:
            host = max(host, gpu)
        own, launch = seconds_of(bench, op.moved, op.flop, 1)
        host += launch
        gpu = max(gpu, host) + own
    return max(host, gpu)


@torch.no_grad()
def counted(cfg: BenchDecodeConfig, vocabulary: int, sentences: int, width: int) -> Counting:
    """ROOM steps after as many others: in one of them memory for keys and values is added."""
    counting = Counting()

    def step(tokens: Tensor, state: DecoderState) -> Tensor:
        if state.length == 2 * ROOM:
            raise EnoughError
        if state.length == ROOM:
            counting.ops.clear()
            counting.waited.clear()
        return model.decode(tokens[:, None], state)[:, -1]

    with FakeTensorMode(), computing_in("bf16", CPU), counting, suppress(EnoughError):
        model = Transformer(cfg.model, cfg.position, vocabulary, PAD).eval()
        state = model.encode(torch.ones(sentences, width, dtype=torch.int64))
        most = [1_000] * sentences
        settings = {"vocab": vocabulary, "bos": BOS, "eos": EOS, "device": CPU}
        beam_search(step, model.logits, state, most, beam=cfg.bench.beam, penalty=lambda n: 1.0, **settings)
    return counting
