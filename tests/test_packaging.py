"""What is shipped works where it lands: a wheel made from the source archive, and an editable installation."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("data", "outputs", "build", "dist", "wandb", ".*", "__pycache__")


def python(*words: str, cwd: Path, path: Path | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=env, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(tree: Path, target: str, into: Path) -> Path:
    """Build with the backend itself, which fetches nothing."""
    python("-m", "hatchling", "build", "-t", target, "-d", str(into), cwd=tree)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without what it made."""
    copy = tmp_path_factory.mktemp("checkout") / "rope-mt"

    def left_out(folder: str, names: list[str]) -> set[str]:
        return shutil.ignore_patterns(*(LEFT_OUT if Path(folder) == ROOT else ["__pycache__"]))(folder, names)

    shutil.copytree(ROOT, copy, ignore=left_out)
    return copy


@pytest.fixture(scope="module")
def site(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what installing the wheel would put into site-packages."""
    work = tmp_path_factory.mktemp("wheel")
    with tarfile.open(build(tree, "sdist", work / "sdist")) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python 3.11.0 to 3.11.3 lack
        archive.extractall(work / "source")
    (source,) = (work / "source").iterdir()
    with zipfile.ZipFile(build(source, "wheel", work / "wheel")) as archive:
        archive.extractall(work / "site")
    return work / "site"


def test_the_wheel_finds_its_configuration(site, tmp_path):
    assert "name: rope\n" in python("-m", "rope_mt", "train", "--cfg", "job", cwd=tmp_path, path=site)
    assert "position schemes" in python("-m", "rope_mt", cwd=tmp_path, path=site).lower()
    where = python("-c", "from rope_mt.config.files import conf_dir; print(conf_dir())", cwd=tmp_path, path=site)
    assert Path(where.strip()) == (site / "rope_mt/conf").resolve()
    assert not [*tmp_path.iterdir()]


def test_the_wheel_holds_every_module_and_configuration_and_nothing_else(site):
    def files(folder: Path, kind: str) -> set[str]:
        return {str(file.relative_to(folder)) for file in folder.rglob(f"*.{kind}")}

    assert files(site / "rope_mt", "py") == files(ROOT / "rope_mt", "py")
    assert files(site / "rope_mt/conf", "yaml") == files(ROOT / "conf", "yaml")
    (info,) = (entry for entry in site.iterdir() if entry.name != "rope_mt")
    assert "rope-mt = rope_mt.cli.main:main" in (info / "entry_points.txt").read_text()


def test_an_editable_installation_reads_the_checkout(tree, tmp_path):
    """It puts the checkout's path into site-packages, and beside it a copy of conf/ that grows old."""
    site, cwd = tmp_path / "site", tmp_path / "cwd"
    (site / "rope_mt/conf").mkdir(parents=True)
    (site / "_rope_mt.pth").write_text(f"{tree}\n")
    cwd.mkdir()
    other = (
        f"sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]"  # the installation that runs the tests
    )
    start = f"import site, sys; {other}; site.addsitedir({str(site)!r}); "
    where = python("-c", start + "from rope_mt.config.files import conf_dir; print(conf_dir())", cwd=cwd)
    assert Path(where.strip()) == (tree / "conf").resolve()
    train = start + "from rope_mt.cli.main import main; main(['train', '--cfg', 'job'])"
    assert "name: rope\n" in python("-c", train, cwd=cwd)
