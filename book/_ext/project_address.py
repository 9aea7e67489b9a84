"""Sphinx extension: the buttons that lead to the project's repository, where its address is known.

It is `Source` in `pyproject.toml`, which `make address` writes. Without it there are no such buttons.
"""

import tomllib
from pathlib import Path

BRANCH = "main"
# No Binder: with torch its image would be of 6 GB, and its machines have about 2 GB of memory.
LAUNCH = {"notebook_interface": "jupyterlab", "colab_url": "https://colab.research.google.com"}
BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")


def address(root: Path) -> str:
    """The address of the repository as ``pyproject.toml`` has it, else an empty string."""
    project = tomllib.loads(root.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"].get("Source", "")


def add_buttons(app, config):
    url = address(Path(app.srcdir))
    config.html_theme_options |= {
        "repository_url": url,
        "repository_branch": BRANCH,
        "launch_buttons": LAUNCH if url else {},
        **dict.fromkeys(BUTTONS, bool(url)),
    }


def setup(app):
    app.connect("config-inited", add_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
