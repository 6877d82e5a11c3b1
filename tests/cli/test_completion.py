"""The command between other programs: pipes, and what Tab completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("words", ["--help", "train --help", "train --info"])
def test_a_reader_may_stop_reading(words):
    piped = f"{sys.executable} -m rope_mt {words} | true"
    done = subprocess.run(
        ["bash", "-c", piped], text=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "some", "never"),
    [
        ("rope-mt ", "train eval translate prepare compare", "seed="),
        ("rope-mt tra", "train translate", "seed="),
        ("rope-mt train ", "seed= position= position. model= trainer.", "schema schema/"),
        ("rope-mt train position=", "position=none position=relative position=rope", "seed="),
        ("rope-mt train position=relative position.", "position.clip=", "position.theta="),
        ("rope-mt train seed=1,2 -m pos", "position= position.", "seed="),
        ("rope-mt train --m", "--multirun --dry-run", "seed="),
        ("rope-mt eval --m", "--multirun", "--dry-run"),
        ("rope-mt eval outputs/x=1 se", "search= search.", "model= data="),
        ("rope-mt eval ou", "", "search="),
        ("rope-mt eval device=cpu ", "", "search="),
        ("rope-mt bench ", "bench= data= model=", "seed= search= schema/"),
        ("rope-mt bench sch", "schemes", "data"),
        ("rope-mt bench bench=", "bench=data bench=schemes", "seed="),
        ("rope-mt bench bench=schemes bench.", "bench.steps= bench.json=", "bench.pairs="),
        ("rope-mt bench data=w", "data=wmt14", "seed="),
        ("rope-mt compare ", "", "seed="),
        ("rope-mt compare --", "", "--multirun"),
        ("rope-mt analyze ", "decay lengths convergence", "seed="),
        ("rope-mt analyze decay ", "", "seed="),
        ("rope-mt analyze decay --", "", "--out"),
        ("rope-mt train 'x ", "", "seed="),
        ("rope-mt nonsense ", "", "seed="),
    ],
)
def test_tab_completes_commands_settings_and_leaves_paths_to_the_shell(rope_mt, monkeypatch, line, some, never):
    monkeypatch.setenv("COMP_LINE", line)
    output = rope_mt("-sc", "query=bash")
    assert (output.code, output.err) == (0, "")
    words = output.out.split()
    assert {*some.split()} <= {*words}
    assert not {*never.split()} & {*words}
    assert some or not words


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path):
    program = tmp_path / "rope-mt"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom rope_mt.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    script = """
        eval "$(rope-mt -sc install=bash)"
        complete -p rope-mt
        COMP_LINE="rope-mt train position=ro" COMP_CWORD=2
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, env=env, cwd=tmp_path, timeout=60)
    rule, reply = done.stdout.splitlines()
    assert "-F hydra_bash_completion rope-mt" in rule
    assert reply == "position=rope"
