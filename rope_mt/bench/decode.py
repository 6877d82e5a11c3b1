"""`rope-mt bench decode`: how fast translations are made, beside transformers and CTranslate2 on the same sentences.

Every system makes each translation as long as its reference, so that all do the same work. Each has the batch size and
threads that are its fastest on a part of the sentences. Then the systems take turns over all sentences. Rates are
compared within a round of turns, because the speed of a machine that others use, too, drifts.
"""

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rope_mt.bench.count_search import count_search
from rope_mt.bench.peers import ALPHA, CTranslate2, Decoder, Setting, Transformers, Work, check
from rope_mt.bench.steps import SEED, as_trained, precisions, shape, time_of
from rope_mt.config.commands import BenchDecodeConfig
from rope_mt.data import corpus, text
from rope_mt.data.prepare import prepare
from rope_mt.data.tokenizer import PAD, Tokenizer, read
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.system.device import choose_device, describe
from rope_mt.translation.translator import Translator

OURS = "rope-mt"


class Ours(Decoder):
    """The search of this project."""

    size, on_cpu, on_gpu = "batch_tokens", (16_384, 4_096, 8_192), (16_384, 65_536, 262_144)

    def __init__(self, ckpt: Checkpoint, beam: int, device: torch.device, precision: str) -> None:
        super().__init__(ckpt, beam, device, precision)
        search = replace(ckpt.config.search, beam=beam, length_penalty=ALPHA)
        self.translator = Translator.of(ckpt, search, device, precision)

    def decode(self, work: Work) -> list[int]:
        self.translator.search = replace(self.translator.search, batch_tokens=self.setting["batch_tokens"])
        hypotheses = self.translator.hypotheses([source for source, _ in work], [n for _, n in work])
        return [len(best.tokens) + 1 for best, *_ in hypotheses]


SYSTEMS = {OURS: Ours, "transformers": Transformers, "ctranslate2": CTranslate2}


def measure(cfg: BenchDecodeConfig) -> dict[str, Any]:
    """Decode the test set of `data` with every system; lines on standard error tell how it goes."""
    ckpt = untrained(cfg)
    work = sentences(cfg, ckpt.tokenizer)
    report: dict[str, Any] = {
        "corpus": cfg.data.name,
        "sentences": len(work),
        "target tokens": sum(n for _, n in work),
        "model": shape(cfg.model),
        "position": cfg.position.name,
    }
    if cfg.bench.count:
        translator = Ours(ckpt, cfg.bench.beam, torch.device("cpu"), "bf16").translator
        report["model"] += "; bf16"
        return {**report, "beam": cfg.bench.beam, "estimate": count_search(cfg, translator, work)}
    device = choose_device(cfg.device)
    names = able(cfg, device)
    systems: dict[str, Decoder] = {}
    for name in names:
        for precision in precisions(name, device):
            systems[f"{name} {precision}"] = SYSTEMS[name](ckpt, cfg.bench.beam, device, precision)
    report |= {
        "vocabulary": len(ckpt.tokenizer),
        "beam": cfg.bench.beam,
        "device": describe(device),
        "rounds": cfg.bench.rounds,
    }
    settings = {name: fastest(name, system, work) for name, system in systems.items()}
    rounds = []
    for _ in range(cfg.bench.rounds):
        rounds.append({})
        for name, system in systems.items():
            system.use(settings[name])
            rounds[-1][name] = seconds(system, work)
            print(f"{name}: {rounds[-1][name]:.1f} s", file=sys.stderr)
    return {**report, "systems": summary(rounds, report["target tokens"], settings)}


def able(cfg: BenchDecodeConfig, device: torch.device) -> list[str]:
    """The systems that are asked for (a UserError if one cannot run), or else all that can; a line tells of others."""
    names, settings = [], as_trained(cfg, cfg.position)
    for name in cfg.bench.systems or SYSTEMS:
        try:
            if name != OURS:
                check(name, device, settings)
            names.append(name)
        except UserError as error:
            if cfg.bench.systems:
                raise
            print(f"without {name}: {error}", file=sys.stderr)
    return names


def untrained(cfg: BenchDecodeConfig) -> Checkpoint:
    """A model with the weights that training begins with."""
    tokenizer = prepare(cfg.data, corpus.locate(cfg.data)).tokenizer()
    torch.manual_seed(SEED)
    model = Transformer(cfg.model, cfg.position, len(tokenizer), PAD)
    return Checkpoint(as_trained(cfg, cfg.position), tokenizer, model.state_dict(), step=0, path=Path("untrained"))


def sentences(cfg: BenchDecodeConfig, tokenizer: Tokenizer) -> Work:
    """The first sentences of the test set, and the lengths of their references."""
    src, ref = text.read_test_set(corpus.find(cfg.data, "test"))
    src_ids, ref_ids = (read(tokenizer, side).ids for side in (src, ref))
    work = [(s, len(r) + 1) for s, r in zip(src_ids, ref_ids, strict=True) if s]
    return work[: cfg.bench.sentences]


def fastest(name: str, system: Decoder, work: Work) -> Setting:
    """The setting that is fastest on sentences of middling length: one choice after the other, the others the last."""
    n = max(32, len(work) // 4)
    first = max(0, (len(work) - n) // 2)
    part = sorted(work, key=lambda sentence: sentence[1])[first : first + n]

    def took(setting: Setting) -> float:
        system.use(setting)
        system.decode(part[:8])  # the first call is slow
        return seconds(system, part)

    chosen = {name: n for options in system.choices for name, n in options[-1].items()}
    for options in system.choices:
        settings = [{**chosen, **option} for option in options]
        chosen = settings[0] if len(settings) == 1 else min(settings, key=took)
    print(f"{name}: {_described(chosen)}", file=sys.stderr, flush=True)
    return chosen


def seconds(system: Decoder, work: Work) -> float:
    """How long a system takes for these sentences. It must make as many tokens as it should."""
    n_tokens: list[int] = []
    taken = time_of(lambda: n_tokens.extend(system.decode(work)), system.device)
    assert n_tokens == [n for _, n in work], "a hypothesis is not as long as its reference"
    return taken


def summary(rounds: list[dict[str, float]], tokens: int, settings: dict[str, Setting]) -> dict[str, dict[str, Any]]:
    """Medians over rounds of seconds and of how many times as fast ours is, in its fastest precision."""
    ours = [min(seconds for name, seconds in times.items() if name.startswith(OURS)) for times in rounds]
    rows = {}
    for name in rounds[0]:
        theirs = [times[name] for times in rounds]
        ratios = [taken / own for taken, own in zip(theirs, ours, strict=True)]
        rows[name] = {
            "tokens/s": tokens / median(theirs),
            "seconds": median(theirs),
            "ours is faster by": median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "setting": settings[name],
        }
    return rows


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """A heading, and a line per system and precision."""
    form = "{:<20}{:>10}{:>10}{:>12}{:>16}   {}"
    lines = [form.format("system", "tokens/s", "seconds", "ours faster", "least to most", "its best setting")]
    for name, row in rows.items():
        spread = f"{row['least']:.2f} to {row['most']:.2f}"
        numbers = (f"{row['tokens/s']:,.0f}", f"{row['seconds']:.2f}", f"{row['ours is faster by']:.2f} x", spread)
        lines.append(form.format(name, *numbers, _described(row["setting"])))
    return lines


def _described(setting: Setting) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in setting.items())
