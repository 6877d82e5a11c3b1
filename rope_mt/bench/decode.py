"""`rope-mt bench decode`: how fast translations are made, beside transformers and CTranslate2 on the same sentences.

Every system makes each translation as long as its reference, so that all do the same work, and each at the thread
setting and batch size that are its fastest on a part of the sentences. Then they take turns over all of them, and
rates are compared within a turn, since the speed of a machine that others use as well drifts.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rope_mt.bench.decoders import SYSTEMS, Decoder, Work, missing, precisions
from rope_mt.bench.steps import SEED, as_trained, finish
from rope_mt.config.commands import BenchDecodeConfig
from rope_mt.data import corpus, text
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import PAD, Tokenizer, read
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.system.device import choose_device, describe

OURS = "rope-mt"


def measure(cfg: BenchDecodeConfig) -> dict[str, Any]:
    """Decode the test set of `data` with every system; a line on standard error tells of each.

    Raises:
        UserError: there is no such device, the text is not there, or a system that is asked for cannot run.
    """
    device = choose_device(cfg.device)
    names = able(cfg, device)
    ckpt = untrained(cfg)
    work = sentences(cfg, ckpt.tokenizer)
    systems: dict[str, Decoder] = {}
    for name in names:
        for precision in precisions(name, device):
            systems[f"{name} {precision}"] = SYSTEMS[name](ckpt, cfg.bench.beam, device, precision)
    threads = torch.get_num_threads()
    try:
        chosen = {name: fastest(name, system, work, device) for name, system in systems.items()}
        rounds = [turn(systems, chosen, work, device) for _ in range(cfg.bench.rounds)]
    finally:
        torch.set_num_threads(threads)
    m = cfg.model
    tokens = sum(work.lengths)
    return {
        "corpus": cfg.data.name,
        "sentences": len(work.sources),
        "target tokens": tokens,
        "model": f"{m.name}: {m.n_layers}+{m.n_layers} layers, d_model {m.d_model}, {m.n_heads} heads",
        "position": cfg.position.name,
        "vocabulary": len(ckpt.tokenizer),
        "beam": cfg.bench.beam,
        "device": describe(device),
        "rounds": cfg.bench.rounds,
        "systems": summary(rounds, tokens, chosen),
    }


def able(cfg: BenchDecodeConfig, device: torch.device) -> list[str]:
    """The systems that are asked for, or else all that can run; of those that cannot, a line says why.

    Raises:
        UserError: one that is asked for cannot.
    """
    found = []
    for name in cfg.bench.systems or SYSTEMS:
        why = missing(name, device, as_trained(cfg, cfg.position))
        if why is None:
            found.append(name)
        elif cfg.bench.systems:
            raise UserError(why)
        else:
            print(f"without {name}: {why}", file=sys.stderr, flush=True)
    return found


def untrained(cfg: BenchDecodeConfig) -> Checkpoint:
    """A model with the weights that training begins with."""
    tokenizer = prepare(cfg.data, corpus.locate(cfg.data)).tokenizer()
    train = as_trained(cfg, cfg.position)
    torch.manual_seed(SEED)
    model = Transformer(cfg.model, cfg.position, len(tokenizer), PAD)
    return Checkpoint(train, tokenizer, model.state_dict(), step=0, path=Path("untrained"))


def sentences(cfg: BenchDecodeConfig, tokenizer: Tokenizer) -> Work:
    """The first sentences of the test set, and the lengths of their references."""
    src, ref = text.read_test_set(corpus.find(cfg.data, "test"))
    src_ids, ref_ids = (read(tokenizer, side).ids for side in (src, ref))
    pairs = [(s, len(r) + 1) for s, r in zip(src_ids, ref_ids, strict=True) if s][: cfg.bench.sentences]
    return Work([s for s, _ in pairs], [n for _, n in pairs])


def fastest(name: str, system: Decoder, work: Work, device: torch.device) -> dict[str, int]:
    """The setting with which a part of the work takes the shortest time: the best batch size, then the best threads."""
    part = work.middle(max(32, len(work.sources) // 4))
    chosen = [options[-1] for options in system.choices()]

    def took(setting: dict[str, int]) -> float:
        system.use(setting)
        return seconds(system, part, device)

    system.use(_together(chosen))
    system.decode(part.part(range(min(8, len(part.sources)))))  # what is slow at the first time only
    for i, options in enumerate(system.choices()):
        settings = [_together([*chosen[:i], option, *chosen[i + 1 :]]) for option in options]
        times = [took(setting) for setting in settings] if len(options) > 1 else [0.0]
        chosen[i] = options[times.index(min(times))]
    best = _together(chosen)
    print(f"{name}: {_said(best)}", file=sys.stderr, flush=True)
    return best


def _together(parts: list[dict[str, int]]) -> dict[str, int]:
    return {name: value for part in parts for name, value in part.items()}


def turn(
    systems: dict[str, Decoder], chosen: dict[str, dict[str, int]], work: Work, device: torch.device
) -> dict[str, float]:
    """Seconds that each system takes for all the work, one after the other."""
    taken = {}
    for name, system in systems.items():
        system.use(chosen[name])
        taken[name] = seconds(system, work, device)
        print(f"{name}: {taken[name]:.1f} s", file=sys.stderr, flush=True)
    return taken


def seconds(system: Decoder, work: Work, device: torch.device) -> float:
    """How long a system takes, and that it did all of the work and no more."""
    began = time.perf_counter()
    made = system.decode(work)
    finish(device)
    taken = time.perf_counter() - began
    assert made == work.lengths, "a hypothesis is not as long as its reference"
    return taken


def summary(
    rounds: list[dict[str, float]], tokens: int, chosen: dict[str, dict[str, int]]
) -> dict[str, dict[str, Any]]:
    """Medians over rounds, and how many times as fast as each system ours is in its fastest precision."""
    ours = [min(taken for name, taken in each.items() if name.startswith(OURS)) for each in rounds]
    found = {}
    for name in rounds[0]:
        times = [each[name] for each in rounds]
        ratios = [taken / own for taken, own in zip(times, ours, strict=True)]
        found[name] = {
            "tokens/s": tokens / median(times),
            "seconds": median(times),
            "ours is faster by": median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "setting": chosen[name],
        }
    return found


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each system and precision, under a heading."""
    form = "{:<20}{:>10}{:>10}{:>12}{:>16}   {}"
    lines = [form.format("system", "tokens/s", "seconds", "ours faster", "least to most", "its best setting")]
    for name, row in found.items():
        spread = f"{row['least']:.2f} to {row['most']:.2f}"
        numbers = (f"{row['tokens/s']:,.0f}", f"{row['seconds']:.2f}", f"{row['ours is faster by']:.2f} x", spread)
        lines.append(form.format(name, *numbers, _said(row["setting"])))
    return lines


def _said(setting: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in setting.items())
