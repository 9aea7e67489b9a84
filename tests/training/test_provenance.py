"""Results say which software and which machine made them."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

import repro
from repro.training import provenance as module
from repro.training.provenance import provenance


def test_provenance_names_versions():
    facts = provenance()
    assert facts["repro"] == repro.__version__
    assert facts["torch"] == torch.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["device"]
    json.dumps(facts)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_provenance_has_the_commit_of_a_working_copy(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / "package" / "training" / "module.py"
    source.parent.mkdir(parents=True)
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
    source.parents[1].joinpath("new.py").write_text("x = 1\n")
    assert provenance()["git_commit"] == commit  # not one of its files
    source.write_text("x = 2\n")
    assert provenance()["git_commit"] == f"{commit}+"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert provenance()["git_commit"] is None
