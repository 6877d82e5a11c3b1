"""What a model knows beyond the lengths of training, apart from when it stops: the references are given to it.

Loss by target position is that of teacher forcing. chrF is of hypotheses that have as many tokens as their reference.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from rope_mt.data.tokenizer import LONGEST, read
from rope_mt.errors import UserError
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.study.finished_runs import FinishedRun
from rope_mt.system.device import choose_device, choose_precision
from rope_mt.system.plots import figure, write_csv
from rope_mt.translation.scored_sets import join_lines, own_test_set
from rope_mt.translation.scoring import score
from rope_mt.translation.translator import Translator

BIN = 10  # target positions whose loss is averaged
COLUMNS = ("run", "scheme", "seed", "joined", "first position", "tokens", "nats per token", "chrf of all")
Row = tuple[Path, str, int, int, int, int, float, float]


def measure_forced(
    runs: list[FinishedRun], schemes: Sequence[str], joined: list[int], caps: list[int], out: Path, console: Console
) -> list[Path]:
    """Print mean loss and chrF of each run with so many sentences joined; write both, and the loss by position.

    Raises:
        UserError: a run has no weights, or its text is gone.
    """
    rows: list[Row] = []
    console.print(Text("\nloss in nats per target token, and chrF at the length of the reference", "bold"))
    for run, scheme in zip(runs, schemes, strict=True):
        if not RunFolder(run.folder).average.is_dir():
            raise UserError(f"{run.folder} has no weights for --forced: leave it out")
        ckpt = checkpoint.load(run.folder)
        device = choose_device("auto")
        precision = choose_precision(str(run.result["precision"]), device)
        translator = Translator.of(ckpt, ckpt.config.search, device, precision)
        src, ref = own_test_set(run.folder, ckpt)
        for k in joined:
            print(f"{run.folder}: {k} sentences joined, at the length of the reference", file=sys.stderr)
            losses, chrf = forced(translator, join_lines(src, k), join_lines(ref, k), k * LONGEST)
            if not losses:
                console.print(Text(f"{scheme}, seed {run.seed}, {k} joined: longer than the model's positions"))
                continue
            means = by_position(losses)
            rows += [(run.folder, scheme, run.seed, k, at, *mean, chrf) for at, mean in means.items()]
            nats = float(torch.cat(losses).mean())
            console.print(Text(f"{scheme}, seed {run.seed}, {k} joined: loss {nats:.3f}   chrF {chrf:.2f}"))
    csv, png = Path(f"{out}-forced.csv"), Path(f"{out}-forced.png")
    write_csv(csv, COLUMNS, rows)
    plot(png, rows, caps)
    return [csv, png]


def forced(translator: Translator, src: list[str], ref: list[str], longest: int) -> tuple[list[torch.Tensor], float]:
    """The loss of each token of each reference, and chrF at their lengths; no loss if the positions end before."""
    src_ids, ref_ids = (read(translator.tokenizer, lines, longest).ids for lines in (src, ref))
    if translator.model.max_len is not None and max(map(len, src_ids + ref_ids)) > translator.model.max_len:
        return [], 0.0
    found = translator.hypotheses(src_ids, [len(ids) + 1 for ids in ref_ids])
    hypotheses = translator.decode([best[0].tokens if best else [] for best in found])
    return translator.token_losses(src, ref, longest), score(hypotheses, ref).chrf


def by_position(losses: list[torch.Tensor]) -> dict[int, tuple[int, float]]:
    """The tokens and their mean loss at each BIN target positions, by the first of them."""
    positions = torch.cat([torch.arange(len(row)) for row in losses]) // BIN
    nats, tokens = torch.cat(losses).double(), positions.bincount()
    sums = torch.zeros(len(tokens), dtype=torch.float64).index_add(0, positions, nats)
    return {BIN * at: (int(n), float(total / n)) for at, (n, total) in enumerate(zip(tokens, sums, strict=True))}


def plot(path: Path, rows: list[Row], caps: list[int]) -> None:
    """Loss against target position, on the most sentences joined that a scheme can read; a line a scheme."""
    with figure(path) as drawn:
        axes = drawn.subplots()
        for scheme in dict.fromkeys(row[1] for row in rows):
            of_scheme = [row for row in rows if row[1] == scheme]
            most = max(row[3] for row in of_scheme)
            points: dict[int, list[tuple[int, float]]] = {}
            for _, _, _, k, at, n, nats, _ in of_scheme:
                if k == most:
                    points.setdefault(at, []).append((n, nats))
            means = [sum(n * nats for n, nats in seeds) / sum(n for n, _ in seeds) for seeds in points.values()]
            axes.plot([at + BIN / 2 for at in points], means, label=f"{scheme}, {most} joined")
        for cap in caps:
            axes.axvline(cap, color="#555555", linestyle=(0, (6, 4)), linewidth=0.9)
        axes.set(xlabel="target position (dashed: longest side in training)", ylabel="nats per target token")
        axes.legend()
