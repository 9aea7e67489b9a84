"""Prose quotes results; it does not repeat them."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupyter_book", reason="the book is built by jupyter-book")

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "book" / "_ext"
RESULT = {
    "seconds": 120.5,
    "name": "speed",
    "sizes": [{"size": 256, "on": "cpu", "curve": [7, 8]}, {"size": 512}],
}


@pytest.fixture(scope="module")
def quote():
    spec = importlib.util.spec_from_file_location("quoted_results", EXTENSIONS / "quoted_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.quote


@pytest.fixture
def root(tmp_path):
    for folder, name in [("results", "speed.book.json"), ("src/repro/weights", "wave.json")]:
        tmp_path.joinpath(folder).mkdir(parents=True)
        tmp_path.joinpath(folder, name).write_text(json.dumps(RESULT))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("speed.book.json:name", "speed"),
        ("wave.json:seconds", "120.5"),
        ("wave.json:seconds:.0f", "120"),
        ("wave.json:seconds / 60:.1f", "2.0"),
        ("wave.json:sizes.size=256&on=cpu.curve.1:03d", "008"),
    ],
)
def test_known_answers(quote, root, text, expected):
    assert quote(root, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other.json:name", r"no file 'other\.json' in results or src/repro/weights"),
        ("wave.json:second", "no 'second', but one of seconds, name, sizes"),
        ("wave.json:name.first", "no 'first', but a str"),
        ("wave.json:sizes.size=128.on", "0 of 2 rows have size=128"),
        ("wave.json:sizes.2", "no '2', but a list"),
        ("wave.json:sizes", "'sizes' is not a single value"),
        ("wave.json", "no '', but one of"),
        ("wave.json:name:.2f", "Unknown format code 'f'"),
        ("wave.json:name / 2", "unsupported operand"),
    ],
)
def test_what_is_not_there_is_named(quote, root, text, message):
    with pytest.raises((LookupError, ValueError), match=message):
        quote(root, text)


def build(folder, page):
    """Build a book of one page with the two extensions, warnings as errors."""
    folder.joinpath("conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\nmyst_enable_extensions = ['colon_fence']\n"
        "extensions = ['myst_parser', 'quoted_results', 'compare_pictures']\n"
    )
    folder.joinpath("index.md").write_text("# A page\n\n" + page)
    command = [sys.executable, "-m", "sphinx", "-qW", "--keep-going", folder, folder / "html"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr, folder.joinpath("html", "index.html").read_text()


def test_on_a_page(root):
    code, said, page = build(root, "It took {result}`wave.json:seconds:.0f` s.")
    assert (code, said) == (0, "")
    assert "<p>It took 120 s.</p>" in page


def test_a_page_that_asks_for_too_much_is_no_page(root):
    page = "It took {result}`wave.json:minutes` minutes.\n\n:::{compare} a.png b.png\n:alts: one | two\n:::\n"
    code, said, _ = build(root, page)
    assert code != 0
    assert "index.md:3: WARNING: result wave.json:minutes: no 'minutes', but one of seconds" in said
    assert re.search(r"index\.md:5: ERROR: compare: .*No such file.*a\.png", said)


def test_no_number_is_typed_in_the_introduction():
    """Digits stand in code, links, numbers of chapters, formulas and VGG-16 only; a result is quoted."""
    text = ROOT.joinpath("book", "intro.md").read_text(encoding="utf-8")
    text = re.sub(r"(?ms)\$\$.*?\$\$|^```bash.*?^```|^```", "", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$|(?m:^\[\d+\. )|\]\([^)]*\)|VGG-1[69]", "", text)
    assert not re.findall(r".*\d.*", text)
