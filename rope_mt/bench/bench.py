"""`rope-mt bench SUBJECT`: measure a subject, and print the report for people or for programs."""

import platform
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module, metadata
from typing import Any

from rope_mt.config.commands import SCHEMAS, BenchConfig
from rope_mt.data.corpus import locate
from rope_mt.data.prepare import cores
from rope_mt.system.device import processor
from rope_mt.system.files import json_text
from rope_mt.system.memory import short_of_memory


def bench(cfg: BenchConfig) -> None:
    """Print the report as a table, or with `bench.json=true` as one JSON object.

    Raises:
        UserError: the device, the text or a system is missing, the model does not go with the position scheme, or
            memory is short.
    """
    [command] = [name for name, schema in SCHEMAS.items() if type(cfg) is schema]  # such as bench/data
    if not (cfg.data.vocab_size and cfg.data.batch_tokens):
        cfg = replace(cfg, data=locate(cfg.data).cfg)
    subject = import_module(f"rope_mt.{command.replace('/', '.')}")
    versions = {"python": platform.python_version()}
    versions |= {package: metadata.version(package) for package in ("sentencepiece", "numpy", "torch")}
    machine = {"processor": processor(), "cores": cores(), "versions": versions}
    with short_of_memory(lambda: "in this bench: choose a smaller model, or lower data.batch_tokens"):
        report = {"machine": machine, **subject.measure(cfg)}
    if cfg.bench.json:
        print(json_text(report, indent=2))
        return
    rows = report.pop("schemes", None) or report.pop("systems", None)
    print("\n".join([*_lines(report), *(["", *subject.table(rows)] if rows else [])]))


def _lines(report: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A name and its value per line; the values of a group are indented below its name."""
    for name, value in report.items():
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
