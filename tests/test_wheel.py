"""The wheel: it holds the whole package and nothing else, and its command runs from an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "platform"

pytestmark = pytest.mark.slow


def command(*arguments: str | Path, cwd: Path) -> str:
    """Run a command without this checkout on its path, and return its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    shutil.copytree(SOURCE, directory / "platform", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory / "dist")
    command(*pip, directory, cwd=directory)
    (built,) = (directory / "dist").iterdir()
    return built


def test_it_holds_the_package_with_its_types_and_its_licence(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "tutelage").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "tutelage/py.typed" in held
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_its_command_plans_the_demo(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home)
    command(sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # those of this environment, but for tutelage
    where = command(home / "bin" / "python", "-c", "import tutelage; print(tutelage.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    arguments = ("sweep", ROOT / "search_spaces" / "digits.yaml", "--dry-run", "--json", "--set", f"storage={tmp_path / 's'}")
    assert '"sweep": "digits"' in command(home / "bin" / "tutelage", *arguments, cwd=tmp_path)
