"""Libraries find a home, a name, a place for temporary files and no launcher, whatever the program was started in."""

import getpass
import io
import logging
import os
import pwd
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console

from rope_mt.errors import UserError
from rope_mt.system import surroundings
from rope_mt.system.progress import may_draw


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    with patch.dict(os.environ):
        yield


@pytest.mark.parametrize("home", [None, "", "/proc", "/nowhere/at all", __file__])
def test_a_user_without_a_name_or_a_home_that_can_be_written_gets_both(home, monkeypatch):
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)
    if home is not None:
        os.environ["HOME"] = home
    surroundings.make_usable()
    assert getpass.getuser() == f"user-{os.getuid()}"
    assert (str(Path.home()) == home) == (home == "/proc")  # which is a folder, and may hold a login
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"):
        (Path(os.environ[name]) / "file").write_text("")


def test_a_home_that_can_be_written_stays_and_nothing_is_set(tmp_path):
    os.environ["HOME"] = str(tmp_path)
    before = dict(os.environ)
    surroundings.make_usable()
    assert dict(os.environ) == before
    assert not [*tmp_path.iterdir()]


def test_as_many_files_may_be_open_as_the_system_grants(monkeypatch):
    granted = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        if limits[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")  # as on macOS
        granted.append(limits)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    surroundings.make_usable()
    assert granted == [(10_240, resource.RLIM_INFINITY)]


@pytest.mark.parametrize("name", ["x" * 90, "missing"])
def test_temporary_files_go_where_they_can_be_and_the_path_of_a_socket_is_short(name, tmp_path):
    if name != "missing":
        (tmp_path / name).mkdir()
    os.environ["TMPDIR"] = str(tmp_path / name)
    surroundings.make_usable()
    assert os.environ["TMPDIR"] == tempfile.gettempdir()
    assert len(tempfile.gettempdir()) <= surroundings.LONGEST_TMPDIR


def test_a_working_folder_that_is_gone_is_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"^the working folder cannot be found .*: cd to a folder that exists$"):
        surroundings.make_usable()


def test_a_log_on_a_full_disk_prints_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    surroundings.make_usable()
    with open("/dev/full", "wb", buffering=0) as full:
        handler = logging.StreamHandler(io.TextIOWrapper(full, write_through=True))
        handler.handle(logging.makeLogRecord({"msg": "run started"}))
    assert capsys.readouterr().err == ""


def test_variables_of_launchers_count_only_where_torchrun_has_set_them():
    launched = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "OMP_NUM_THREADS": " "}
    os.environ |= {**launched, "TORCHELASTIC_RUN_ID": "7"}
    surroundings.make_usable()
    assert os.environ["RANK"] == "3"
    del os.environ["TORCHELASTIC_RUN_ID"]
    surroundings.make_usable()
    assert not launched.keys() & os.environ.keys()


def test_closed_streams_do_not_give_their_numbers_to_files(tmp_path):
    code = "import os, sys\nfrom rope_mt.system import surroundings\nsurroundings.make_usable()\n"
    code += "with open('file', 'w') as file:\n    print('lost')\n    print('lost', file=sys.stderr, flush=True)\n"
    code += "    os.system('echo lost')\n    file.write(f'{surroundings.was_closed(sys.stdout)} {sys.stdin.read()!r}')"
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(shell, cwd=tmp_path, timeout=60).returncode == 0
    assert (tmp_path / "file").read_text() == "True ''"


@pytest.mark.parametrize(("codec", "seen"), [("cp437", b"\x84 ? ?\n"), ("ascii", b"? ? ?\n"), ("utf-8", b"\xc3\xa4")])
def test_a_sign_that_the_encoding_of_the_output_lacks_is_replaced(codec, seen, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=codec))
    surroundings.make_usable()
    Console().print("ä € \udcff")
    sys.stdout.flush()
    assert out.getvalue().startswith(seen)


def test_colours_that_are_forced_make_no_terminal_of_a_log(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not may_draw(Console(file=io.StringIO()))
