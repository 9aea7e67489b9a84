"""The project's own files agree with each other and carry nothing of the machine they were written on."""

import importlib.util
import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import repro
from repro.cli.common import EXTRAS
from repro.pretrained import DISTRIBUTION
from repro.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
MACHINE_PATH = re.compile(r"(?<![\w.~{}$/)-])/(?:home|root|Users|work)/|\b[A-Z]:\\Users")


def test_no_file_names_a_path_of_a_machine(project_files):
    found = []
    for path, text in project_files.items():
        lines = enumerate(text.splitlines(), start=1)
        found += [f"{path}:{number}: {line[:120]}" for number, line in lines if MACHINE_PATH.search(line)]
    assert not found


def test_pins_satisfy_the_ranges():
    lines = ROOT.joinpath("requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        versions[canonicalize_name(pin.name)] = specifier.version
    extras = PROJECT["optional-dependencies"].values()
    for wanted in map(Requirement, chain(PROJECT["dependencies"], *extras)):
        if wanted.name != PROJECT["name"]:  # an extra that has others in it
            assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), wanted


def test_the_command_line_knows_which_extra_brings_a_package():
    extras = {
        name: {canonicalize_name(Requirement(line).name) for line in lines}
        for name, lines in PROJECT["optional-dependencies"].items()
    }
    for module, extra in EXTRAS.items():
        assert canonicalize_name({"skimage": "scikit-image"}.get(module, module)) in extras[extra]
    assert PROJECT["name"] == DISTRIBUTION


def test_the_map_of_modules_is_that_of_the_package():
    spec = importlib.util.spec_from_file_location("module_map", ROOT / "tools" / "module_map.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
    assert page == tool.written(page), "run `python tools/module_map.py`"


def test_versions_agree():
    citation = yaml.safe_load(ROOT.joinpath("CITATION.cff").read_text(encoding="utf-8"))
    assert repro.__version__ == PROJECT["version"] == citation["version"]


def test_the_book_lists_every_notebook():
    contents = yaml.safe_load(ROOT.joinpath("_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    stored = [f"notebooks/{path.stem}" for path in sorted(ROOT.joinpath("notebooks").glob("*.ipynb"))]
    assert [name for name in listed if name.startswith("notebooks/")] == stored


def test_ci_runs_the_command_of_the_readme():
    command = ROOT.joinpath(".ci", "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    blocks = re.findall(
        r"```bash\n(.*?)```", ROOT.joinpath("README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert command.removeprefix("exec ") == "make test"
    assert "make test" in lines


def test_commands_for_several_processes_have_a_batch_that_they_can_share():
    texts = [ROOT.joinpath("README.md").read_text(encoding="utf-8")]
    for path in ROOT.joinpath("notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    commands = re.findall(r"(?m)^(?:torchrun|accelerate launch) (?:.*\\\n)*.*", "\n".join(texts))
    checked = 0
    for command in commands:
        numbers = {name.replace("-", "_"): int(n) for name, n in re.findall(r"--(n\S+) (\d+)\b", command)}
        each = numbers.get("nnodes", 1) * numbers.get("nproc_per_node", 1)
        processes = numbers.get("num_processes", each)
        recipe = re.search(r"repro train (\S+)", command)[1]
        if recipe == "mine.toml":  # the reader's own, made in the chapter
            continue
        assert recipe == "--style" or recipe.endswith(".toml"), command
        source = "style" if recipe == "--style" else ROOT / recipe
        assert load_recipe(source).training.batch_size % processes == 0 and processes > 1, command
        checked += 1
    assert checked >= 4
