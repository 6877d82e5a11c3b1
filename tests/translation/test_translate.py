"""`rope-mt translate` with small models that are not trained: what goes in and out, and what is refused."""

import fcntl
import gzip
import lzma
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch

from rope_mt.data import toy
from rope_mt.data.tokenizer import BOS, EOS, LONGEST, read
from rope_mt.errors import UserError
from rope_mt.system import surroundings
from rope_mt.translation.prompt import history_file
from rope_mt.translation.translate import MANY

from .conftest import TABLE

SRC = [f"{src}\n".encode() for src, _ in toy.generate(n_train=4, n_valid=2, n_test=2).train]
TEXT = b"".join(SRC)


# ---- a line for a line ----------------------------------------------------------------------------------------------


def test_input_of_no_line_and_of_blank_lines(translate):
    assert translate()[0] == []
    assert translate(b"\n", scores=True)[0] == [b"0.0000\t"]


@pytest.mark.parametrize(("stream", "file"), [("input", "translate.input"), ("output", "translate.output")])
def test_a_closed_stream_is_refused_with_the_setting_that_names_a_file(translate, monkeypatch, stream, file):
    monkeypatch.setattr(surroundings, "was_closed", lambda x: x is {"input": sys.stdin, "output": sys.stdout}[stream])
    with pytest.raises(UserError, match=f"^standard {stream} is closed: name a file with {file}=FILE$"):
        translate(TEXT)


@pytest.mark.parametrize(("model", "longest"), [("rope", LONGEST), ("learned", TABLE)])
def test_a_line_without_end_is_cut_and_named(translate, translators, model, longest):
    endless = "dog".join(map(str, range(1_500)))
    lines = [SRC[0], endless.encode() + b"\n", SRC[1]]
    out, err = translate(b"".join(lines), model)
    assert err == [f"rope-mt: line 2: only the first {longest:,} tokens of each are translated"]
    ours = translators[model]
    beginning = ours.hypotheses([read(ours.tokenizer, [endless], longest).ids[0]])[0][0]
    assert out[1].decode() == ours.decode([beginning.tokens])[0]


# ---- files ----------------------------------------------------------------------------------------------------------


def test_files_hold_what_pipes_carry(translate):
    expected = translate(TEXT)[0]
    Path("in.en").write_bytes(TEXT.removesuffix(b"\n"))
    Path("in.en.gz").write_bytes(gzip.compress(TEXT))
    Path("in.en.xz").write_bytes(lzma.compress(TEXT))
    for name in ("in.en", "in.en.gz", "in.en.xz"):
        assert translate(input=name)[0] == expected
    assert translate(TEXT, output="new/out.de") == ([], [])
    assert Path("new/out.de").read_bytes().split(b"\n") == [*expected, b""]


def test_an_output_that_fails_is_as_it_was(translate, monkeypatch):
    Path("out.de").write_text("before")
    with pytest.raises(UserError):
        translate(input="nowhere", output="out.de")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rope_mt.translation.translate.output_lines", interrupt)
    with pytest.raises(KeyboardInterrupt):
        translate(SRC[0], output="out.de")
    assert Path("out.de").read_text() == "before"
    assert [path.name for path in Path().iterdir()] == ["out.de"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": "nowhere"}, "cannot read nowhere"),
        ({"input": "in.en", "output": "./in.en"}, "are one file, in.en"),
        ({"input": "in.en", "output": "link"}, "are one file, link"),
        ({"output": "folder"}, "cannot write folder: it is not a file"),
        ({"output": "/dev/null"}, "cannot write /dev/null: it is not a file"),
        ({"output": "in.en/out.de"}, "cannot write in.en/out.de"),
        ({"output": "out.gz"}, "translate.output must be a name without .gz or .xz, not 'out.gz'"),
        ({"attention": "a.pdf"}, "translate.attention must be a name that ends in .png, not 'a.pdf'"),
        ({"attention": "a.png"}, "draws one sentence, and the input is 0 lines"),
        ({"attention": "a.png", "input": "in.en"}, "draws one sentence, and the input is 4 lines"),
        ({"attention": "a.png", "input": "blank"}, "draws one sentence, and the input is a blank line"),
        ({"search": {"nbest": 4}}, "search.nbest=4 needs search.beam=4 or more"),
        ({"search": {"nbest": 0}}, "search.nbest must be at least 1, not 0"),
    ],
)
def test_refusals(translate, capsysbinary, settings, message):
    Path("in.en").write_bytes(TEXT)
    Path("link").symlink_to("in.en")
    Path("blank").write_text(" \n")
    Path("folder").mkdir()
    with pytest.raises(UserError) as refused:
        translate(**settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsysbinary.readouterr() == (b"", b"")
    assert sorted(path.name for path in Path().iterdir()) == ["blank", "folder", "in.en", "link"]
    assert Path("in.en").read_bytes() == TEXT


# ---- hypotheses and scores ------------------------------------------------------------------------------------------


def test_the_n_best_are_numbered_scored_and_sorted(translate):
    stdin = b"".join([SRC[0], b"\n", *SRC[1:]])
    best = [row.split(b"\t") for row in translate(stdin, scores=True)[0]]
    assert [text for _, text in best] == translate(stdin)[0]
    rows = [row.split(b"\t") for row in translate(stdin, search={"nbest": 3})[0]]
    assert [int(number) for number, _, _ in rows] == [1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    for n, (score, text) in enumerate(best, start=1):
        of_sentence = [(s, t) for number, s, t in rows if int(number) == n]
        assert of_sentence[0] == (score, text)
        scores = [float(s) for s, _ in of_sentence]
        assert scores == sorted({*scores}, reverse=True)
    two_best = [row for i, row in enumerate(rows) if i not in (2, 6, 9, 12)]
    assert translate(stdin, search={"nbest": 2})[0] == [b"\t".join(row) for row in two_best]


def test_there_are_no_more_hypotheses_than_the_search_finds(translate):
    rows = translate(TEXT, search={"nbest": 3, "max_len_b": 1})[0]  # only eos fits
    assert [row.split(b"\t")[::2] for row in rows] == [[b"%d" % n, b""] for n in range(1, len(SRC) + 1)]


def test_the_score_is_the_log_probability_over_the_length_penalty(translate, translators):
    ours = translators["rope"]
    sources = read(ours.tokenizer, [line.decode() for line in SRC]).ids
    printed = translate(TEXT, scores=True)[0]
    for src, [best, *_], line in zip(sources, ours.hypotheses(sources), printed, strict=True):
        with torch.no_grad():
            logits = ours.model(torch.tensor([[*src, EOS]]), torch.tensor([[BOS, *best.tokens]]))[0]
        written = [*best.tokens, EOS]
        log_probs = logits.double().log_softmax(-1)[range(len(written)), written]
        assert float(line.split(b"\t")[0]) == pytest.approx(float(log_probs.sum()) / len(written) ** 0.6, abs=1e-4)


def test_the_speed_is_printed_for_many_lines(translate):
    assert translate((MANY - 1) * b"dog\n")[1] == []
    out, [speed] = translate((MANY - 1) * b"dog\n" + b"\n")
    assert len(out) == MANY
    assert speed.startswith(f"{MANY - 1} sentences of ")


def test_attention_is_drawn_and_the_translation_stays_the_same(translate):
    assert translate(SRC[0], attention="maps/a.png") == translate(SRC[0])
    assert Path("maps/a.png").stat().st_size


# ---- at a terminal --------------------------------------------------------------------------------------------------


def test_history_lies_in_the_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "rope-mt" / "history"
    for relative in ("", "state"):  # the specification says to ignore relative paths
        monkeypatch.setenv("XDG_STATE_HOME", relative)
        assert history_file() == Path("/home/ada/.local/state/rope-mt/history")


def control_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a process started in a shell's background ignores it


def read_until(terminal: int, end: str) -> str:
    shown = b""
    while end.encode() not in shown:
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096)
    return shown.decode()


def test_the_prompt(checkpoints, translate, tmp_path):
    first, second = (line.decode().strip() for line in SRC[:2])
    answers = [line.decode() for line in translate(b"".join(SRC[:2]))[0]]
    history = tmp_path / "rope-mt" / "history"
    history.parent.mkdir()
    history.write_text(f"{second}\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rope_mt", "translate", str(checkpoints["rope"]), "device=cpu"]
    env = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(tmp_path)}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, **streams, env=env, start_new_session=True, preexec_fn=control_terminal)
    try:
        greeting = "rope: en to de, position=rope. Ctrl-C clears the line, Ctrl-D ends."
        assert greeting in read_until(ours, "en> ")
        os.write(ours, f"{first}\n".encode())
        read_until(ours, f"\r\n{answers[0]}\r\nen> ")
        os.write(ours, b"\n half a line")
        read_until(ours, "half a line")
        for _ in range(20):  # readline misses a Ctrl-C in the moment between two keys
            os.write(ours, b"\x03")
            if select.select([ours], [], [], 0.5)[0]:
                break
        read_until(ours, "\r\nen> ")
        os.write(ours, b"\x1b[A\x1b[A\n")  # twice up: the line of the earlier session
        read_until(ours, f"\r\n{answers[1]}\r\nen> ")
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert history.read_text().splitlines() == [second, first, second]
