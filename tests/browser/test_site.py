"""The notebooks as a book: it builds without a warning, its pages are whole, and all can read them:
on a telephone, in the dark, with a screen reader, and without the internet.
"""

import functools
import re
from html.parser import HTMLParser

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import ROOT
from playwright.sync_api import expect

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
CHECKPOINTS = "ddpm_course/pretrained/checkpoints"
TEXTS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for pattern in ("docs/*.md", f"{CHECKPOINTS}/*/README.md", "benchmarks/README.md", "[ACS]*.md")
    for path in ROOT.glob(pattern)
)
PAGES = [
    "index",
    "live",
    *(f"pages/notebooks/{n}" for n in NOTEBOOKS),
    *(f"pages/{n}" for n in TEXTS),
]


class Page(HTMLParser):
    """The images, links and ids of an HTML file."""

    def __init__(self, path):
        super().__init__()
        self.images, self.links, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag == "img":
            self.images.append(found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


@functools.cache  # links lead to the same few pages again and again
def parsed(path):
    return Page(path)


def test_every_notebook_and_text_is_a_page_in_the_table_of_contents(site):
    contents = set(parsed(site / "index.html").links)
    assert {f"{name}.html" for name in PAGES[1:]} <= contents
    assert (site / "searchindex.js").is_file()


@pytest.mark.parametrize("name", PAGES)
def test_images_have_alternative_text_and_links_lead_somewhere(site, name):
    path = site / f"{name}.html"
    page = parsed(path)
    for image in page.images:
        assert len(image.get("alt") or "") > 20, image
        assert image["src"].startswith("data:") or (path.parent / image["src"]).is_file(), image
    for link in page.links:
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.is_file(), link
        if anchor and there.suffix == ".html":
            assert anchor in parsed(there).ids, link


def test_equations_symbols_and_notebooks_are_linked_where_prose_names_them(site):
    links = {name: parsed(site / "pages/notebooks" / f"{name}.html").links for name in NOTEBOOKS}
    notation = "00_start_here.html#notation"
    assert all(notation in links[name] for name in NOTEBOOKS[1:]), "no symbol is explained"
    assert "01_forward_noising.html#ddpm-4" in links["02_reverse_process"]
    assert "02_reverse_process.html#ddpm-7" in links["05_sampling"]
    assert "#ddpm-7" in links["02_reverse_process"]
    assert "02_reverse_process.html" in links["03_unet"]


LEFTMOST_FORMULA = """Math.min(
  0, ...[...document.querySelectorAll('mjx-math')].map(m => m.getBoundingClientRect().left))"""


def open_page(page, address):
    page.goto(address)
    page.wait_for_function("() => window.MathJax?.startup?.promise.then(() => true) ?? true")


@pytest.mark.release
@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_loads_nothing_from_elsewhere(page, address, name):
    """axe finds nothing serious in light or dark mode, nothing is wider than a telephone, every
    formula is typeset, and no request leaves this machine.
    """
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        open_page(page, f"{address}/{name}.html")
        found = Axe().run(page).response["violations"]
        serious = [f for f in found if f["impact"] in ("serious", "critical")]
        assert not serious, [(f["id"], [n["html"][:200] for n in f["nodes"]][:3]) for f in serious]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate(LEFTMOST_FORMULA) >= 0, "the beginning of a formula is cut off"
    ours = (address, "data:", "blob:", "about:")
    assert not [url for url in requested if not url.startswith(ours)]


@pytest.mark.release
def test_the_explorer_moves_there_without_a_kernel(page, address):
    open_page(page, f"{address}/pages/notebooks/01_forward_noising.html")
    frame = page.frame_locator("iframe").first
    expect(frame.locator("#says")).to_contain_text("keeps 17 %")
    frame.locator("#last").focus()
    page.keyboard.press("ArrowRight")
    expect(frame.locator("#says")).to_contain_text("keeps 16 %")


@pytest.mark.release
def test_search_finds_a_word(page, address):
    open_page(page, f"{address}/search.html?q=Tweedie")
    expect(page.locator("#search-results a").first).to_have_text(re.compile("05 · Sampling"))
