"""The page "Use it in your own loop": what it says runs, and its example ends as the page says."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_perceptual_loss_ends_nearer_in_features_and_the_pixel_loss_nearer_in_pixels():
    path = ROOT / "examples" / "own_loop.py"
    spec = importlib.util.spec_from_file_location("own_loop", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    ends = example.main()
    pixel, perceptual = ends["pixel loss"], ends["perceptual loss"]
    assert perceptual["content/relu2_2"] < pixel["content/relu2_2"]
    assert pixel["pixel"] < perceptual["pixel"]


def test_the_blocks_of_the_page_run_one_after_the_other():
    page = ROOT.joinpath("book", "own_loop.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {}
    for block in blocks:
        exec(compile(block, "own_loop.md", "exec"), names)
    assert names["each"].shape == names["output"].shape
    assert names["output"].grad.abs().sum() > 0
