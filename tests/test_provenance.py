"""Results say which software and which machine made them."""

import json
import platform
import shutil
import subprocess
import sys

import pytest
import torch

import repro
from repro import provenance as module
from repro.provenance import provenance


def test_provenance_names_versions():
    facts = provenance()
    assert facts["repro"] == repro.__version__
    assert facts["torch"] == torch.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["device"]
    json.dumps(facts)


@pytest.mark.parametrize(("count", "end"), [(1, "1 thread"), (2, "2 threads")])
@pytest.mark.parametrize(
    "told, name",
    [
        (
            "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9005 \nprocessor\t: 1\nmodel name\t: x\n",
            "AMD EPYC 9005",
        ),
        ("processor : 0\nFeatures : fp asimd\n", "a64"),  # ARM: no name there
        (None, "a64"),  # not Linux
    ],
)
def test_the_processor_is_named_with_its_instructions_and_threads(
    told, name, count, end, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "a64")
    if told is not None:
        module.CPUINFO.write_text(told)
    assert provenance()["device"] == f"CPU ({name}, AVX512), {end}"


def test_the_device_that_is_asked_for_is_named_and_not_the_gpu_beside_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device}")
    assert provenance()["device"] == "GPU None"
    assert provenance(torch.device("cuda", 1))["device"] == "GPU cuda:1"
    assert provenance("cpu")["device"].startswith("CPU (")
    assert provenance(torch.device("mps"))["device"] == "mps"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_provenance_has_the_commit_of_a_working_copy(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("x = 1\n")
    monkeypatch.setattr(module, "__file__", str(source))

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance()["git_commit"] is None  # no working copy
    git("init")
    assert provenance()["git_commit"] is None  # not of this one
    git("add", "package")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    tmp_path.joinpath("notes.txt").write_text("not of the package")
    assert provenance()["git_commit"] == commit
    source.write_text("x = 2\n")
    assert provenance()["git_commit"] == f"{commit}+"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert provenance()["git_commit"] is None
