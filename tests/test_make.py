"""The Makefile: what it tells the commands that it runs, and what it says to a Python that will not do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments, **environment):
    """Run make as a person would, who is not inside another make."""
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "GOMP", "OMP"))
    }
    return subprocess.run(
        ["make", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, env=inherited | environment
    )


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, ""),
    ],
    ids=["nothing said", "count", "policy"],
)
def test_threads_soon_sleep_unless_the_environment_says_how_they_wait(environment, count):
    shown = make("-s", "--eval", "show: ; @echo count=$$GOMP_SPINCOUNT", "show", **environment)
    assert shown.stdout.strip() == f"count={count}", shown.stderr


@pytest.mark.parametrize("version", ["3.10.9", "3.15.0"])
def test_another_python_is_told_which_will_do(version, tmp_path):
    python = tmp_path / "python"
    major, minor, _ = version.split(".")
    python.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = ({major}, {minor})\n"
        f'print("Python {version}") if sys.argv[1] == "--version" else exec(sys.argv[2])\n'
    )
    python.chmod(0o755)
    made = make(f"VENV={tmp_path / 'venv'}", f"PYTHON={python}", tmp_path / "venv" / ".ready")
    assert made.returncode != 0
    assert (
        f"are for Python 3.11 to 3.14, but '{python}' is Python {version}; try: make PYTHON=" in made.stderr
    )
    assert not (tmp_path / "venv").exists()


def test_notebooks_can_be_run_as_on_a_smaller_machine():
    line = make(
        "-n", f"BIN={Path(sys.executable).parent}", "nbval", "THREADS=1", "INSTRUCTIONS=avx2", "WORKERS=3"
    )
    words = line.stdout.split()
    assert {"OMP_NUM_THREADS=1", "ATEN_CPU_CAPABILITY=avx2", "ONEDNN_MAX_CPU_ISA=AVX2", "--nbval"} <= set(
        words
    )
    assert words[-4:] == ["-n", "3", "--dist", "loadfile"]
