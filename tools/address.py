"""Say where the project lives: `make address URL=https://github.com/OWNER/NAME`; `URL=none` takes it back.

Without a URL it is that of git's remote `origin`. The address stands in `pyproject.toml`; this puts it into
`CITATION.cff` and the first cell of the notebooks as well. The book's buttons and the pages of networks on
the Hugging Face Hub read it when they are made. Without an address nothing points to a place on the web.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USAGE = "give make address URL=https://github.com/OWNER/NAME"
LINES = {
    "pyproject.toml": ("[project.urls]\n", 'Source = "{}"\n'),
    "CITATION.cff": ("", "repository-code: {}\n"),
}


def normalized(url: str) -> str:
    """Return ``https://github.com/OWNER/NAME`` for one of the forms that git takes; "" for "none".

    Raises:
        ValueError: it is no address of a repository on GitHub.
    """
    if url == "none":
        return ""
    found = re.fullmatch(r"(?:https://|ssh://git@|git@)github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?", url)
    if found is None:
        raise ValueError(
            f"{url!r} is no repository on GitHub, whose archives and buttons the book uses; {USAGE}"
        )
    return f"https://github.com/{found[1]}/{found[2]}"


def write(address: str, root: Path) -> None:
    """Put the address into the two files, in place of the one that is there."""
    for name, (before, line) in LINES.items():
        path = root / name
        text = re.sub(f"(?m)^{line.format('.*')}", "", path.read_text(encoding="utf-8"))
        if address and before:
            text = text.replace(before, before + line.format(address))
        elif address:
            text += line.format(address)
        path.write_text(text, encoding="utf-8")


def of_remote() -> str:
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(f"git has no remote `origin` here; {USAGE}") from None


def main(url: str = "") -> None:
    try:
        address = normalized(url or of_remote())
    except ValueError as error:
        sys.exit(f"address: {error}")
    write(address, ROOT)
    spec = importlib.util.spec_from_file_location("setup_cell", ROOT / "book" / "setup_cell.py")
    setup_cell = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup_cell)
    setup_cell.main([str(path) for path in sorted(ROOT.glob("notebooks/*.ipynb"))])
    print(f"The project's address: {address or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
