"""The installed packages are the pinned ones, none of them is known to do harm, and nothing calls home by itself."""

import io
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from rope_mt.cli.main import main

from ..training.killed_run import words

ROOT = Path(__file__).parents[2]
COMPROMISED = {  # releases that do harm, and their advisories
    "lightning": {"2.6.2", "2.6.3"},  # stole credentials when imported: GHSA-w37p-236h-pfx3
    "pytorch-lightning": {"2.6.2", "2.6.3"},  # which lightning installs beside itself
}
OUTDATED = {  # releases before these run code from a stranger's file
    "torch": "2.6",  # weights_only=True ran code: CVE-2025-32434
    "hydra-core": "1.3.8",  # instantiate() could be made to call anything
}


def pinned() -> dict[str, set[str]]:
    """Versions in constraints.txt by name; several where Python's version chooses."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)( ; .+)?", line)
            assert pin, f"constraints.txt: {line} is not a pin"
            pins.setdefault(canonicalize_name(pin[1]), set()).add(pin[2])
    return pins


def needed(name: str, extras: frozenset[str], known: dict[str, frozenset[str]]) -> Iterator[str]:
    """All distributions that this one needs here, directly or not."""
    for word in metadata.requires(name) or ():
        requirement = Requirement(word)
        marker, below = requirement.marker, canonicalize_name(requirement.name)
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        asked = frozenset(requirement.extras)
        if below in known and asked <= known[below]:
            continue
        known[below] = known.get(below, frozenset()) | asked
        yield below
        yield from needed(below, known[below], known)


def test_every_needed_package_is_pinned_to_the_installed_version():
    pins = pinned()
    names = {*needed("rope-mt", frozenset({"dev"}), {})} - {"rope-mt"}
    assert len(names) > 60
    here = {name: metadata.version(name).partition("+")[0] for name in sorted(names)}  # torch 2.13.0+cpu is 2.13.0
    assert {name: version for name, version in here.items() if version not in pins.get(name, ())} == {}


def test_no_version_is_known_to_do_harm():
    ranges = {canonicalize_name(r.name): r.specifier for r in map(Requirement, metadata.requires("rope-mt") or ())}
    for name, versions in COMPROMISED.items():
        for version in versions:
            assert version not in pinned()[name]
            assert metadata.version(name) != version
            assert name not in ranges or version not in ranges[name]
    for name, first in OUTDATED.items():
        assert all(Version(version) >= Version(first) for version in pinned()[name])
        assert not [*ranges[name].filter([f"{first}rc1", "1.0", "0.1"])]


def test_without_tracking_no_network_is_asked_and_wandb_is_not_imported(here, monkeypatch, capsys):
    requests, watching = [], True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
            requests.append((event, arguments))

    sys.addaudithook(watch)  # nothing can remove it
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    short = ["trainer.max_steps=2", "trainer.val_every=2", "search.max_len_a=0", "search.max_len_b=2"]
    commands = [["train", *words(here), *short, "hydra.run.dir=run"], ["eval", "run"], ["translate", "run"]]
    commands += [["compare", "run", "--html", "run.html"], ["export", "run", "--to", "safetensors"], ["--help"]]
    try:
        for command in commands:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"The dog sleeps.\n")))
            assert main(command) == 0, (command, capsys.readouterr().err)
    finally:
        watching = False
    assert requests == []
    assert not list(here.rglob("wandb"))
