"""The stored notebooks: executed in order, clean, small, and free of anybody's machine."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|Users|work|usr|opt|private)/|\b[A-Za-z]:\\")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def text(value):
    """A notebook stores text as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def code_cells(notebook):
    return [
        cell for cell in notebook["cells"] if cell["cell_type"] == "code" and text(cell["source"]).strip()
    ]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def output_text(output):
    """What an output says in words: streams and every textual form of a result, not the pictures."""
    data = output.get("data", {})
    forms = [text(value) for kind, value in data.items() if not kind.startswith("image/")]
    return "\n".join([text(output.get("text", "")), *forms])


def test_cells_were_executed_once_in_order(path):
    counts = [cell["execution_count"] for cell in code_cells(read(path))]
    assert counts, "the notebook has no code"
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"


def test_no_error_warning_or_stderr_is_stored(path):
    for output in outputs(read(path)):
        assert output["output_type"] != "error", output.get("evalue")
        assert output.get("name") != "stderr", output_text(output)
        assert not re.search(r"\b\w*Warning\b:", output_text(output)), output_text(output)


def test_no_path_of_a_machine_is_stored(path):
    notebook = read(path)
    said = [output_text(output) for output in outputs(notebook)]
    written = [text(cell["source"]) for cell in notebook["cells"]]
    found = [line for part in said + written for line in part.splitlines() if MACHINE_PATH.search(line)]
    assert not found


def test_pictures_are_described(path):
    """A cell that draws says what is to be seen: metadata ``mystnb.image.alt``, the picture's alt text."""
    for cell in code_cells(read(path)):
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        if any(kind.startswith("image/") for kind in kinds):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 10, text(cell["source"])


def test_begins_with_its_only_title(path):
    cells = read(path)["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert re.match(r"# \S", text(cells[0]["source"]))
    prose = "\n".join(text(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    without_code = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", without_code, flags=re.MULTILINE)) == 1


def test_kernel_is_plain_python(path):
    kernel = read(path)["metadata"]["kernelspec"]
    assert kernel["name"] == "python3"
    assert kernel["language"] == "python"
    assert kernel["display_name"].startswith("Python 3")


def test_is_small(path):
    assert path.stat().st_size < 2_000_000
