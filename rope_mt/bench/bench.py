"""`rope-mt bench SUBJECT`: measures, and prints what was found for people or for programs."""

import json
from collections.abc import Iterator
from typing import Any

from rope_mt.bench.machine import machine
from rope_mt.config.commands import BenchDataConfig, BenchDecodeConfig, BenchSchemesConfig, BenchTrainConfig


def bench(cfg: BenchDataConfig | BenchSchemesConfig | BenchDecodeConfig | BenchTrainConfig) -> None:
    """Print what was measured as a table, or with `bench.json=true` as one JSON object.

    Raises:
        UserError: the configuration does not allow it, or there is no text to measure with.
    """
    table: list[str] = []
    if isinstance(cfg, BenchSchemesConfig):
        from rope_mt.bench import schemes

        found = {"machine": machine(), **schemes.measure(cfg)}
        table = ["", *schemes.table(found["schemes"])]
    elif isinstance(cfg, BenchDecodeConfig):
        from rope_mt.bench import decode

        found = {"machine": machine(), **decode.measure(cfg)}
        table = ["", *decode.table(found["systems"])]
    elif isinstance(cfg, BenchTrainConfig):
        from rope_mt.bench import train

        found = {"machine": machine(), **train.measure(cfg)}
        table = ["", *train.table(found["systems"])] if "systems" in found else []
    else:
        from rope_mt.bench import data

        found = {"machine": machine(), **data.measure(cfg)}
    if cfg.bench.json:
        print(json.dumps(found, indent=2))
        return
    plain = {name: value for name, value in found.items() if name not in ("schemes", "systems")}
    print("\n".join([*_lines(plain), *table]))


def _lines(found: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Names and values below each other, what belongs together under its heading."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent + name:<40}{_readable(value)}"


def _readable(value: Any) -> str:
    if value is None:
        return "not measured here"
    if isinstance(value, float):
        return f"{value:,.3f}" if value < 10 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
