"""Sphinx extension: which scripts a page of the book loads.

MathJax: a page must show its equations offline, and no third-party file is committed. So the build brings one
pinned file from npm where npm is there; without npm the pages load the same file of the same version from a
CDN. Both are held to one hash: here when the file arrives, in the browser through the integrity attribute.

Thebe, which Jupyter Book always adds, is taken out: the book does not use it, and its settings arrive twice
on every page, which is an error in the browser's console.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sphinx.util import logging

VERSION = "3.2.2"
FILE = "tex-svg-full.js"  # TeX input with all its extensions, SVG output: one file that needs no fonts
INTEGRITY = "sha384-4kE/rQ11E8xT9QgrCBTyvenkuPfQo8rXYQvJZuMgxyPOoUfpatjQPlgdv6V5yhUK"
CDN = f"https://cdn.jsdelivr.net/npm/mathjax@{VERSION}/es5/{FILE}"

logger = logging.getLogger(__name__)


def integrity(content: bytes) -> str:
    """The hash of a file as a browser's integrity attribute writes it."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


def download_with_npm() -> bytes:
    """MathJax's file out of its npm package; OSError where npm is missing, fails or brings another file."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"mathjax@{VERSION}", "--silent", "--fetch-retries=1"]
        command += ["--fetch-timeout=30000", "--cache", f"{folder}/cache", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            with tarfile.open(Path(folder, f"mathjax-{VERSION}.tgz")) as package:
                content = package.extractfile(f"package/es5/{FILE}").read()
        except (subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
            raise OSError(f"npm could not bring it ({type(error).__name__})") from error
    if integrity(content) != INTEGRITY:
        raise OSError(f"npm brought a file with another hash, {integrity(content)}")
    return content


def choose_mathjax(app, config):
    """Point the pages at the local file, fetched once, or else at the CDN, and say so."""
    target = Path(app.srcdir, "book", "_static", "mathjax", FILE)
    try:
        if not target.is_file() or integrity(target.read_bytes()) != INTEGRITY:
            content = download_with_npm()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except OSError as reason:
        config.mathjax_path = CDN
        config.mathjax_options = {"integrity": INTEGRITY, "crossorigin": "anonymous", "async": "async"}
        logger.info("MathJax %s: from a CDN, so equations need a network connection (%s)", VERSION, reason)
    else:
        config.mathjax_path = f"mathjax/{FILE}"
        logger.info("MathJax %s: comes with the book", VERSION)


def drop_thebe(app, pagename, templatename, context, doctree):
    """Take Thebe's two scripts off the page, the one that is a file and the one that is written out."""
    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if "thebe" not in f"{script.filename} {script.attributes}"]


def setup(app):
    app.connect("config-inited", choose_mathjax)
    app.connect("html-page-context", drop_thebe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
