"""The built book: complete, linked, described, and readable in a browser that has no network.

It is built once from the outputs stored in the notebooks; nothing is executed. `make book` executes them.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from itertools import chain
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from repro.figures import compare

bs4 = pytest.importorskip("bs4")
pytest.importorskip("jupyter_book", reason="the book is built by jupyter-book")

ROOT = Path(__file__).parents[1]
PATIENCE = 600_000  # milliseconds that the browser may take, on a slow and busy machine
WIDTHS = {"desktop": 1280, "phone": 390}
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
RAW_TEX = re.compile(
    r"\$\$|\\\(|\\\[|\$[^$\s][^$\n]*\$|\\(?:begin|end|frac|sum|ell|phi|hat|lVert|Vert|mathrm|mathbb|times)\b"
)


def toc_pages():
    contents = yaml.safe_load(ROOT.joinpath("_toc.yml").read_text(encoding="utf-8"))
    return [
        contents["root"],
        *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"]),
    ]


PAGES = toc_pages()


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder of the pages, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("book")
    config = yaml.safe_load(ROOT.joinpath("_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {name: str(ROOT / path) for name, path in extensions.items()}
    folder.joinpath("config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT, "-W", "--keep-going"]
    command += ["--config", folder / "config.yml", "--path-output", folder]
    environment = {**os.environ, "NO_COLOR": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"the book did not build without a warning:\n{result.stderr[-3000:]}", pytrace=False)
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def soups(book):
    """Every HTML file of the book, parsed."""
    paths = sorted(path for path in book.rglob("*.html") if "_static" not in path.parts)
    return {path: bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


@pytest.mark.parametrize("page", PAGES)
def test_page_is_there(book, soups, page):
    titles = soups[book / f"{page}.html"].select("article h1")
    assert len(titles) == 1
    assert titles[0].get_text(strip=True)


def test_internal_links_and_anchors_resolve(book, soups):
    ids = {path: {tag["id"] for tag in soup.select("[id]")} for path, soup in soups.items()}
    broken = []
    for path, soup in soups.items():
        links = [tag["href"] for tag in soup.select("a[href], link[href]")]
        links += [tag["src"] for tag in soup.select("img[src], script[src]")]
        for link in links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = path.parent.joinpath(unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in ids and anchor not in ids[target]):
                broken.append(f"{path.relative_to(book)} -> {link}")
    assert not broken


def test_buttons_lead_to_the_projects_address_alone(soups):
    """Where it has none, there are none: whoever owns another address would run code on readers' machines."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project["urls"].get("Source", "")
    colab = "https://colab.research.google.com/github/"
    links = {tag["href"] for soup in soups.values() for tag in soup.select(".article-header-buttons a[href]")}
    outside = {link for link in links if urlsplit(link).netloc}
    mine = (url, url.replace("https://github.com/", colab))
    assert {link for link in outside if not (url and link.startswith(mine))} == set()
    assert bool(outside) == bool(url)


def test_pictures_have_alt_text(book, soups):
    """Sphinx writes the file's name where an author wrote no description."""
    undescribed = []
    for path, soup in soups.items():
        for picture in soup.select("article img"):
            alt = picture.get("alt", "").strip()
            if not alt or re.search(r"\.(?:png|jpe?g|svg|gif|webp)$", alt):
                undescribed.append(f"{path.relative_to(book)}: {picture.get('src')}")
    assert not undescribed


def test_no_raw_tex_in_prose(book, soups):
    """TeX stands only inside the elements that MathJax turns into equations."""
    found = []
    for path, soup in soups.items():
        for text in chain(*(article.find_all(string=RAW_TEX) for article in soup.select("article"))):
            if not text.find_parent(["pre", "code", "script", "style"]) and not text.find_parent(
                class_="math"
            ):
                found.append(f"{path.relative_to(book)}: {text.strip()[:80]}")
    assert not found


def test_each_attribute_has_a_line_of_its_own(book, soups):
    """Of names with commas between them, all but the last would come out as its type."""
    api = soups[book / "book" / "api.html"]
    lines = [line.get_text() for line in api.select("dl.field-list li, dl.field-list dd > p")]
    assert lines
    assert not [line for line in lines if re.match(r"\w+ \([^)]*,\)", line)]


@pytest.fixture(scope="module")
def address(book):
    """The book behind an http server of this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(book))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: the pages were not opened in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("page", [*PAGES, "genindex", "search"])
def test_page_reads_well_without_a_network(book, address, browser, page, width):
    complaints, outside = [], []

    def keep_local(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    def note_console(message):
        if message.type == "error":
            complaints.append(message.text)

    context = browser.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    tab.route("**/*", keep_local)
    tab.on("console", note_console)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{address}{page}.html", wait_until="load")
    equations = tab.locator("span.math, div.math").count()
    rendered = equations
    if equations:
        if not any(book.joinpath("_static", "mathjax").glob("*.js")):
            context.close()
            pytest.skip("npm did not bring MathJax: this page's equations come from a CDN")
        tab.wait_for_function("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
        tab.evaluate("() => MathJax.startup.promise")
        rendered = tab.locator("mjx-container").count()
    tab.evaluate("() => document.fonts.ready.then(() => true)")
    wrong_tex = tab.locator("mjx-merror, [data-mjx-error]").count()
    missing = tab.evaluate("() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
    fonts = tab.evaluate("() => [...document.fonts].filter(f => f.status === 'error').map(f => f.family)")
    wide = tab.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    cut = tab.evaluate(
        "() => [...document.querySelectorAll('div.math mjx-container')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    )
    context.close()

    assert not outside
    assert not complaints
    assert not missing
    assert not fonts
    assert (rendered, wrong_tex) == (equations, 0)
    assert not cut
    assert wide <= 0, f"the page is {wide} px wider than a screen of {width} px"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_slider_over_two_pictures(book, address, browser, astronaut, width, scripts):
    """Put into a page as a notebook's output would be, so that the book's styles apply to it."""
    alts = ("A woman in a spacesuit.", "The same in inverse colours.")
    slider = compare(astronaut, 1 - astronaut, ("photograph", "negative"), alts=alts)._repr_html_()
    output = f'<div class="cell_output"><div class="output text_html">{slider}</div></div>'
    page = book.joinpath("book", "intro.html").read_text(encoding="utf-8")
    page = page.replace("</article>", f"{output}</article>")

    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    tab.route("**/slider.html", lambda route: route.fulfill(body=page, content_type="text/html"))
    tab.goto(f"{address}book/slider.html", wait_until="load")
    before, after = (tab.get_by_alt_text(alt).bounding_box() for alt in alts)
    control = tab.get_by_role("slider", name="Boundary between photograph and negative")
    if scripts:
        control.press("End")
        at_end = control.evaluate("input => getComputedStyle(input.previousElementSibling).clipPath")
        control.click(position={"x": 24 + 32, "y": 64})  # a quarter of the picture; it begins at 24
        clicked = control.evaluate("input => getComputedStyle(input.previousElementSibling).clipPath")
        wide = tab.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
    else:
        seen = control.count()
    context.close()

    assert before["width"] == after["width"] == 128
    if scripts:
        assert before == after
        assert (at_end, clicked) == ("inset(0px 0px 0px 100%)", "inset(0px 0px 0px 25%)")
        assert wide <= 0
    else:
        assert (before["y"], seen) == (after["y"], 0)
        assert before["x"] + before["width"] < after["x"]
