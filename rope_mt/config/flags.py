"""The configurations of ls, compare, analyze and export: rope_mt/cli/flags.py reads them and explains each setting.

Nothing here imports OmegaConf, which takes longer than their help.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class CompareConfig:
    runs: list[Path]
    baseline: str | None
    buckets: list[int] | None
    form: str  # table, runs, json, csv or markdown
    plot: Path | None
    html: Path | None


@dataclass
class LsConfig:
    folders: list[Path]
    prune: bool


@dataclass
class AnalyzeDecayConfig:
    run: Path | None
    d: int | None
    theta: float | None
    longest: int
    sentences: int
    out: Path


@dataclass
class AnalyzeLengthsConfig:
    runs: list[Path]
    buckets: list[int] | None
    joined: list[int]
    out: Path


@dataclass
class AnalyzeConvergenceConfig:
    runs: list[Path]
    baseline: Path | None
    out: Path


@dataclass
class ExportConfig:
    checkpoint: Path
    to: str  # ctranslate2 or safetensors
    out: Path | None
