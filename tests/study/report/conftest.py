"""A report of runs whose text is hostile, and what a parser finds in a page."""

import contextlib
import io
import json
import random
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sacrebleu
import yaml

from rope_mt.cli.main import main
from rope_mt.runs import checkpoint
from rope_mt.runs.folder import RunFolder
from rope_mt.runs.result import write_result
from rope_mt.translation.sentence_statistics import SentenceStatistics

EVIL = '</dd></style><script>alert(1)</script><img src="http://127.0.0.1:9/x" onerror="alert(2)"> "quoted" & more'
VOID = {"meta", "link", "img", "br", "hr", "input", "path"}


class Page(HTMLParser):
    """The tables of a page by their headings, every tag with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables[self.text["h3"][-1]] = []
        if tag == "tr":
            [*self.tables.values()][-1].append([])
        if tag in ("th", "td"):
            [*self.tables.values()][-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)
        if self.open[-1:] in (["th"], ["td"]):
            [*self.tables.values()][-1][-1][-1] += data

    def rows(self, title: str) -> dict[str, dict[str, str]]:
        """By the text of their first cells."""
        head, *rows = self.tables[title]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.fixture(scope="session")
def finished(runs, tmp_path_factory) -> list[Path]:
    """Two schemes with two seeds, whose text is hostile, and one run that has lost its weights and curves."""
    src, ref = ((runs["rope"] / f"test.{part}").read_text().splitlines() for part in ("src", "ref"))
    src[::2], ref[1::4] = [EVIL] * len(src[::2]), [EVIL] * len(ref[1::4])
    rng, folders = random.Random(0), []
    rates = [("sinusoidal-add", 1, 0.4), ("sinusoidal-add", 2, 0.45), ("rope", 1, 0.05), ("rope", 2, 0.1)]
    for name, seed, rate in (*rates, ("learned", 1, 0.4)):
        folder = tmp_path_factory.mktemp("run")
        folders.append(folder)
        hyp = [" ".join(word for word in line.split() if rng.random() >= rate) for line in ref]
        every = 3 if name == "rope" else 5
        hyp[::every] = [f"{EVIL} {seed}"] * len(hyp[::every])
        config = yaml.safe_load((runs[name] / "config.yaml").read_text()) | {"seed": seed}
        config["data"]["src_lang"] = 'en" onclick="alert(3)'
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        for part, lines in (("src", src), ("ref", ref), ("hyp", hyp)):
            (folder / f"test.{part}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        lengths = map(len, checkpoint.load(runs[name]).tokenizer.encode(src))
        SentenceStatistics.of(lengths, hyp, ref).write(RunFolder(folder).counts("test"))
        result = json.loads((runs[name] / "result.json").read_text()) | {"seed": seed, "device": EVIL}
        scores = {"bleu": sacrebleu.corpus_bleu(hyp, [ref]).score, "chrf": sacrebleu.corpus_chrf(hyp, [ref]).score}
        result["test"] |= scores
        result["command"] = f"rope-mt train position=rope seed={seed}"
        if name == "learned":
            result |= {"position": EVIL, "command": None}  # the name of its row
            (folder / "metrics.jsonl").write_text("{")
        else:
            shutil.copy(runs[name] / "metrics.jsonl", folder)
            (folder / "checkpoints").symlink_to(runs[name] / "checkpoints")
        write_result(RunFolder(folder), result)
    return folders


@pytest.fixture(scope="session")
def written(finished, tmp_path_factory) -> tuple[Path, dict]:
    """The report's file, and what `--json` says of the same comparison."""
    path, said = tmp_path_factory.mktemp("report") / "new" / "a.html", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["compare", *map(str, finished), "--buckets", "20,500", "--json", "--html", str(path)]) == 0
    return path, json.loads(said.getvalue())


@pytest.fixture(scope="session")
def page(written) -> Page:
    return Page(written[0].read_text(encoding="utf-8"))
