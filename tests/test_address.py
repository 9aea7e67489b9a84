"""The project's address: known in one place, and until it is, no file and no page points to one."""

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sphinx", reason="the book is built by Sphinx")

ROOT = Path(__file__).parents[1]
URL = "https://github.com/owner/name"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The script in a copy of the files that it writes, without an address."""
    for name in ("pyproject.toml", "CITATION.cff", "tools/address.py", "book/setup_cell.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    script = load(tmp_path / "tools" / "address.py")
    script.main("none")
    return script


def texts(folder):
    paths = [*folder.glob("*.*"), *folder.glob("notebooks/*.ipynb")]
    return {path: path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize(
    "form",
    [URL, f"{URL}/", f"{URL}.git", "git@github.com:owner/name.git", "ssh://git@github.com/owner/name"],
)
def test_forms_that_git_takes(project, form):
    assert project.normalized(form) == URL


@pytest.mark.parametrize(
    "wrong", ["owner/name", "https://example.org/owner/name", "https://github.com/owner"]
)
def test_another_address_is_refused_and_nothing_written(project, wrong):
    before = texts(project.ROOT)
    with pytest.raises(
        SystemExit, match=r"no repository on GitHub.*make address URL=https://github\.com/OWNER"
    ):
        project.main(wrong)
    assert texts(project.ROOT) == before


def test_without_a_url_it_is_that_of_the_remote(project, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="git has no remote `origin` here; give make address URL="):
        project.main()
    monkeypatch.setattr(project, "of_remote", lambda: "git@github.com:owner/name.git")
    project.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"The project's address: {URL}"


def test_it_is_written_everywhere_and_taken_back(project):
    without = texts(project.ROOT)
    assert not [path for path, text in without.items() if URL in text]
    project.main("https://github.com/else/where")
    project.main(URL)
    with_address = texts(project.ROOT)
    assert not [path for path, text in with_address.items() if "else/where" in text]
    changed = {
        path.relative_to(project.ROOT).as_posix() for path in without if without[path] != with_address[path]
    }
    notebooks = {f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")}
    assert changed == {"pyproject.toml", "CITATION.cff"} | notebooks
    assert tomllib.loads(with_address[project.ROOT / "pyproject.toml"])["project"]["urls"]["Source"] == URL
    assert yaml.safe_load(with_address[project.ROOT / "CITATION.cff"])["repository-code"] == URL
    project.main("none")
    assert texts(project.ROOT) == without


@pytest.mark.parametrize("url", [URL, ""])
def test_buttons_of_the_book(project, url):
    project.main(url or "none")
    config = type("Config", (), {"html_theme_options": {"navbar_persistent": []}})()
    extension = load(ROOT / "book" / "_ext" / "project_address.py")
    extension.add_buttons(type("App", (), {"srcdir": project.ROOT}), config)
    options = config.html_theme_options
    assert {options[button] for button in extension.BUTTONS} == {bool(url)}
    assert options["repository_url"] == url
    assert bool(options["launch_buttons"]) == bool(url)
    assert options["navbar_persistent"] == []


def test_no_file_names_an_address_that_is_not_the_one(project_files):
    """Accounts of others are named where something of theirs is used: data, and the released code."""
    known = {"OWNER/NAME", "jcjohnson/fast-neural-style", "BIDS/BSDS500", "majedelhelou/denoising_datasets"}
    urls = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    known.add(urls.get("Source", "").removeprefix("https://github.com/"))
    found = {}
    for path, text in project_files.items():
        for account in re.findall(r"(?:github|githubusercontent)\.com[/:]([\w.-]+/[\w-]+)", text):
            if account not in known and "tests/" not in path:
                found.setdefault(account, path)
    assert not found
