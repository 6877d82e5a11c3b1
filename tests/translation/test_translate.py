"""`rope-mt translate` with small models that are not trained: what goes in and out, and what is refused."""

import gzip
import io
import lzma
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rope_mt.cli.main import main
from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.position import LearnedConfig, PositionConfig, RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, PAD, Tokenizer, read, train_tokenizer
from rope_mt.model.transformer import Transformer
from rope_mt.runs import checkpoint
from rope_mt.runs.checkpoint import Checkpoint
from rope_mt.translation.prompt import history_file
from rope_mt.translation.translate import MANY
from rope_mt.translation.translator import Translator

SRC = [f"{src}\n".encode() for src, _ in toy.generate(n_train=6, n_valid=2, n_test=2).train]
TABLE = 120  # tokens that the learned positions reach


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints of models with a beam of 3 and at most 9 tokens; biases and norms are not 0 and 1."""
    corpus = toy.generate(n_train=60, n_valid=2, n_test=2)
    tokenizer = Tokenizer(train_tokenizer([line for pair in corpus.train for line in pair], 420, "bpe"))
    schemes: list[PositionConfig] = [RopeConfig(), LearnedConfig(max_len=TABLE)]
    made = {}
    for position in schemes:
        cfg = TrainConfig(
            position=position,
            model=ModelConfig("test", d_model=24, d_ff=40, n_heads=3, n_layers=2, dropout=0.1),
            data=DataConfig("files", "train", "valid", "test", vocab_size=420, max_len=40),
            optimizer=OptimizerConfig(lr=1e-3, warmup_steps=5),
            trainer=TrainerConfig(max_steps=1, val_every=1, val_sentences=1, device="cpu", precision="fp32"),
            search=SearchConfig(beam=3, length_penalty=0.6, max_len_a=0.0, max_len_b=9),
            tracking=TrackingConfig("none"),
        )
        torch.manual_seed(0)
        model = Transformer(cfg.model, position, len(tokenizer), PAD)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn(parameter.shape) if parameter.dim() == 1 else 0.5 * parameter
        path = made[position.name] = tmp_path_factory.mktemp("models") / position.name
        checkpoint.write(path, Checkpoint(cfg, tokenizer, model.state_dict(), 7, path))
    return made


@dataclass
class Said:
    out: list[bytes]
    err: str


@pytest.fixture
def translate(models, tmp_path, monkeypatch, capsysbinary) -> Callable[..., Said]:
    """Run the command in an empty folder; its output line by line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: bytes = b"", code: int = 0, model: str = "rope") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        assert main(["translate", str(models[model]), *words]) == code
        out, err = capsysbinary.readouterr()
        assert not out or out.endswith(b"\n")
        return Said(out.split(b"\n")[:-1], err.decode())

    return run


def translator(path: Path) -> Translator:
    ckpt = checkpoint.load(path)
    return Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), "fp32")


# ---- a line for a line ----------------------------------------------------------------------------------------------


def test_input_of_no_line_and_of_blank_lines(translate):
    assert translate().out == []
    assert translate(stdin=b"\n \t\n\xc2\xa0").out == [b"", b"", b""]
    assert translate("translate.scores=true", stdin=b"\n").out == [b"0.0000\t"]


@pytest.mark.parametrize("byte", ["<0x0A>", "<0x0D>", "<0x09>"])
def test_a_line_break_that_a_model_writes_breaks_no_line(translate, models, monkeypatch, byte):
    pieces = translator(models["rope"]).tokenizer.pieces()[0]
    likely = torch.zeros(len(pieces))
    likely[pieces.index(byte)] = 9.0
    honest = Transformer.logits
    monkeypatch.setattr(Transformer, "logits", lambda model, hidden: honest(model, hidden) + likely)
    found = translator(models["rope"]).hypotheses([[5, 6, 7]])
    assert pieces.index(byte) in found[0][0].tokens
    assert len(translate(stdin=b"".join(SRC)).out) == len(SRC)
    rows = translate("search.nbest=3", stdin=b"".join(SRC)).out
    assert {row.count(b"\t") for row in rows} == {2}


@pytest.mark.parametrize("model", ["rope", "learned"])
def test_a_line_without_end_is_cut_and_named(translate, models, model):
    most = {"rope": LONGEST, "learned": TABLE}[model]
    endless = "dog".join(map(str, range(9_000)))
    assert len(endless) > 50_000
    said = translate(stdin=SRC[0] + endless.encode() + b"\n" + SRC[1], model=model)
    assert said.err == f"rope-mt: line 2: only the first {most:,} tokens of each are translated\n"
    ours = translator(models[model])
    beginning = ours.hypotheses([read(ours.tokenizer, [endless], most).ids[0]])[0][0]
    assert said.out[1].decode() == ours.decode([beginning.tokens])[0]
    many = translate(stdin=SRC[0] + 8 * (endless.encode() + b"\n"), model=model)
    assert "lines 2, 3, 4, 5, 6 and 3 more: only" in many.err


# ---- files ----------------------------------------------------------------------------------------------------------


def test_files_hold_what_pipes_carry(translate):
    expected = translate(stdin=b"".join(SRC)).out
    Path("in.en").write_bytes(b"".join(SRC).removesuffix(b"\n"))
    Path("in.en.gz").write_bytes(gzip.compress(b"".join(SRC)))
    Path("in.en.xz").write_bytes(lzma.compress(b"".join(SRC)))
    for name in ("in.en", "in.en.gz", "in.en.xz"):
        assert translate(f"translate.input={name}").out == expected
    said = translate("translate.output=new/out.de", stdin=b"".join(SRC))
    assert (said.out, said.err) == ([], "")
    assert Path("new/out.de").read_bytes().split(b"\n") == [*expected, b""]


def test_an_output_that_fails_is_as_it_was(translate, monkeypatch):
    Path("out.de").write_text("before")
    translate("translate.input=nowhere", "translate.output=out.de", code=2)

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rope_mt.translation.translate.output_lines", fails)
    translate("translate.output=out.de", stdin=SRC[0], code=130)
    assert Path("out.de").read_text() == "before"
    assert [path.name for path in Path().iterdir()] == ["out.de"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("translate.input=nowhere", "cannot read nowhere"),
        ("translate.input=in.en translate.output=./in.en", "are one file, in.en"),
        ("translate.input=in.en translate.output=link", "are one file, link"),
        ("translate.output=folder", "cannot write folder: it is not a file"),
        ("translate.output=/dev/null", "cannot write /dev/null: it is not a file"),
        ("translate.output=in.en/out.de", "cannot write in.en/out.de"),
        ("translate.output=out.gz", "translate.output must be a name without .gz or .xz, not 'out.gz'"),
        ("translate.attention=a.pdf", "translate.attention must be a name that ends in .png, not 'a.pdf'"),
        ("translate.attention=a.png", "draws one sentence, and the input is 0 lines"),
        ("translate.attention=a.png translate.input=in.en", "draws one sentence, and the input is 6 lines"),
        ("translate.attention=a.png translate.input=blank", "draws one sentence, and the input is a blank line"),
        ("search.nbest=4", "search.nbest=4 needs search.beam=4 or more"),
        ("search=greedy search.nbest=2", "search.nbest=2 needs search.beam=2 or more"),
        ("search.nbest=0", "search.nbest must be at least 1, not 0"),
    ],
)
def test_what_is_refused(translate, words, answer):
    Path("in.en").write_bytes(b"".join(SRC))
    Path("link").symlink_to("in.en")
    Path("blank").write_text(" \n")
    Path("folder").mkdir()
    said = translate(*words.split(), code=2)
    assert said.out == []
    assert said.err.startswith("rope-mt: ")
    assert said.err.count("\n") == 1
    assert answer in said.err
    assert sorted(path.name for path in Path().iterdir()) == ["blank", "folder", "in.en", "link"]
    assert Path("in.en").read_bytes() == b"".join(SRC)


# ---- hypotheses and scores ------------------------------------------------------------------------------------------


def test_the_n_best_are_numbered_scored_and_sorted(translate):
    stdin = b"".join([SRC[0], b"\n", *SRC[1:]])
    best = [row.split(b"\t") for row in translate("translate.scores=true", stdin=stdin).out]
    assert [text for _, text in best] == translate(stdin=stdin).out
    rows = [row.split(b"\t") for row in translate("search.nbest=3", stdin=stdin).out]
    assert [int(number) for number, _, _ in rows] == [1, 1, 1, 2, *(n for n in range(3, 8) for _ in range(3))]
    for n, (score, text) in enumerate(best, start=1):
        own = [(s, t) for number, s, t in rows if int(number) == n]
        assert own[0] == (score, text)
        scores = [float(s) for s, _ in own]
        assert scores == sorted(scores, reverse=True)
        assert len({*scores}) == len(own)
    two = translate("search.nbest=2", stdin=stdin).out
    assert two == [b"\t".join(row) for i, row in enumerate(rows) if row[0] == b"2" or (i - (i > 3)) % 3 < 2]


def test_there_are_no_more_hypotheses_than_the_search_finds(translate):
    rows = translate("search.nbest=3", "search.max_len_b=1", stdin=b"".join(SRC)).out  # nothing but the end fits
    assert [row.split(b"\t")[::2] for row in rows] == [[b"%d" % n, b""] for n in range(1, len(SRC) + 1)]


def test_the_score_is_the_log_probability_over_the_length_penalty(translate, models):
    ours = translator(models["rope"])
    for line in SRC:
        [printed] = translate("translate.scores=true", stdin=line).out
        src = read(ours.tokenizer, [line.decode()]).ids
        [[best, *_]] = ours.hypotheses(src)
        ours.model.eval()
        with torch.no_grad():
            logits = ours.model(torch.tensor([[*src[0], EOS]]), torch.tensor([[BOS, *best.tokens]]))[0]
        said = [*best.tokens, EOS]
        score = sum(row[token] for row, token in zip(logits.double().log_softmax(-1), said, strict=True))
        assert float(printed.split(b"\t")[0]) == pytest.approx(float(score) / len(said) ** 0.6, abs=1e-4)


def test_the_speed_is_told_of_many_lines(translate):
    line = SRC[0].removesuffix(b"\n") + b"\n"
    few = translate(stdin=(MANY - 1) * line)
    assert few.err == ""
    many = translate(stdin=(MANY - 1) * line + b"\n")
    assert len(many.out) == MANY
    assert many.err.count("\n") == 1
    assert many.err.startswith(f"{MANY - 1} sentences of ")
    assert " target tokens/s; loading the model took " in many.err


def test_attention_is_drawn_and_the_translation_is_as_ever(translate):
    expected = translate(stdin=SRC[0]).out
    said = translate("translate.attention=maps/a.png", stdin=SRC[0], model="rope")
    assert (said.out, said.err) == (expected, "")
    assert Path("maps/a.png").read_bytes().startswith(b"\x89PNG\r\n")


# ---- with a person --------------------------------------------------------------------------------------------------


def test_history_lies_in_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "rope-mt" / "history"
    for relative in ("", "state"):  # which the specification says to ignore
        monkeypatch.setenv("XDG_STATE_HOME", relative)
        assert history_file() == Path("/home/ada/.local/state/rope-mt/history")


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, *words: str, **env: str) -> None:
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "rope_mt", "translate", *words]
        env = {**os.environ, "TERM": "xterm", **env}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True, preexec_fn=_controlled
        )
        os.close(theirs)

    def until(self, end: str) -> str:
        """What is shown up to `end`."""
        seen, last = b"", time.monotonic() + 60
        while end.encode() not in seen:
            assert self.answers(within=max(0.0, last - time.monotonic())), seen
            try:
                more = os.read(self.ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                more = b""
            assert more, seen
            seen += more
        return seen.decode()

    def answers(self, within: float) -> bool:
        return bool(select.select([self.ours], [], [], within)[0])

    def types(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


def _controlled() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in a shell's background is born deaf to it


def test_the_prompt(models, translate, tmp_path):
    source = SRC[0].decode().strip()
    [expected] = translate(stdin=SRC[0]).out
    [other] = translate(stdin=SRC[1]).out
    kept = tmp_path / "rope-mt" / "history"
    kept.parent.mkdir()
    kept.write_text(SRC[1].decode())
    with Terminal(str(models["rope"]), XDG_STATE_HOME=str(tmp_path)) as terminal:
        assert "rope.ckpt: en to de, position=rope. Ctrl-C clears the line, Ctrl-D ends." in terminal.until("en> ")
        terminal.types(f"{source}\n")
        terminal.until(f"\r\n{expected.decode()}\r\nen> ")
        terminal.types("\n half a line")
        terminal.until("half a line")
        for _ in range(20):  # readline does not hear it in the moment between two keys
            terminal.types("\x03")
            if terminal.answers(within=0.5):
                break
        terminal.until("\r\nen> ")
        terminal.types("\x1b[A\x1b[A\n")  # twice up: a line of the session before
        terminal.until(f"\r\n{other.decode()}\r\nen> ")
        terminal.types("\x04")
        assert terminal.process.wait(60) == 0
    assert kept.read_text().splitlines() == [SRC[1].decode().strip(), source, SRC[1].decode().strip()]
