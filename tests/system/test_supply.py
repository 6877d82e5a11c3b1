"""What is installed is what was pinned, nothing of it is known to be compromised, and nothing calls home by itself."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from rope_mt.data import toy

ROOT = Path(__file__).parents[2]
COMPROMISED = {  # releases that were found to do harm, and where that is told
    "lightning": {"2.6.2", "2.6.3"},  # stole credentials when imported: GHSA-w37p-236h-pfx3
    "pytorch-lightning": {"2.6.2", "2.6.3"},  # what lightning installs beside itself
}
OUTDATED = {  # releases before these have holes that a stranger's file could use
    "torch": "2.6",  # weights_only=True ran code: CVE-2025-32434
    "hydra-core": "1.3.8",  # what instantiate() could be made to call
}


def pinned() -> dict[str, set[str]]:
    """Versions in constraints.txt by name; several where Python's version chooses."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)( ; .+)?", line)
            assert pin, f"constraints.txt: {line} is no pin"
            found.setdefault(canonicalize_name(pin[1]), set()).add(pin[2])
    return found


def needed(name: str, extras: frozenset[str], known: dict[str, frozenset[str]]) -> Iterator[str]:
    """All distributions below this one, itself left out, that are needed here."""
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


def test_every_package_that_is_needed_is_pinned_to_the_version_that_is_here():
    pins = pinned()
    names = {*needed("rope-mt", frozenset({"dev"}), {})} - {"rope-mt"}
    assert len(names) > 60
    here = {name: metadata.version(name).partition("+")[0] for name in sorted(names)}  # torch 2.13.0+cpu is 2.13.0
    assert {name: version for name, version in here.items() if version not in pins.get(name, ())} == {}


def test_no_version_is_one_that_is_known_to_do_harm():
    ranges = {canonicalize_name(r.name): r.specifier for r in map(Requirement, metadata.requires("rope-mt") or ())}
    for name, versions in COMPROMISED.items():
        for version in versions:
            assert version not in pinned()[name]
            assert metadata.version(name) != version
            assert name not in ranges or version not in ranges[name]
    for name, first in OUTDATED.items():
        assert all(Version(version) >= Version(first) for version in pinned()[name])
        assert not [*ranges[name].filter([f"{first}rc1", "1.0", "0.1"])]


UNTRACKED = """
import io, sys
asked = []
def watch(event, about):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        asked.append((event, about))
sys.addaudithook(watch)
from rope_mt.cli.main import main
for words in open("commands").read().splitlines():
    if "translate" in words:
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"The dog sleeps.\\n"))
    try:
        code = main(words.split())
    except SystemExit as end:
        code = end.code
    assert not code, words
assert not asked, asked
assert "wandb" not in sys.modules
"""


def test_without_tracking_nothing_is_asked_of_any_network(tmp_path, monkeypatch):
    corpus = toy.generate(n_train=120, n_valid=8, n_test=8)
    for name, pairs in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)):
        for side, lang in enumerate(("en", "de")):
            (tmp_path / f"{name}.{lang}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    words = "train data=files data.train=train data.valid=valid data.test=test data.vocab_size=450 tracking=none "
    words += "hydra.run.dir=run trainer.device=cpu model.d_model=32 model.d_ff=64 model.n_layers=1 "
    words += "trainer.max_steps=4 trainer.val_every=2 trainer.val_sentences=2 search.beam=1 search.max_len_a=0 "
    words += "search.max_len_b=2"
    rest = (
        "eval run",
        "translate run",
        "compare run --html run.html",
    )
    (tmp_path / "commands").write_text("\n".join((words, *rest, "export run --to safetensors", "--help")))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", UNTRACKED], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("wandb"))
