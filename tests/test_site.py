"""The notebooks as a book: it builds without a warning, and its pages are whole."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from conftest import ROOT

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "site", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


class Page(HTMLParser):
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


def test_every_notebook_is_a_page_with_search(site):
    assert sorted(path.stem for path in (site / "pages").glob("*.html")) == NOTEBOOKS
    assert (site / "searchindex.js").is_file()


@pytest.mark.parametrize("name", ["index", *(f"pages/{name}" for name in NOTEBOOKS)])
def test_pictures_are_there_and_told_of_and_links_lead_somewhere(site, name):
    path = site / f"{name}.html"
    page = Page(path)
    for image in page.images:
        assert len(image.get("alt") or "") > 20, image
        assert image["src"].startswith("data:") or (path.parent / image["src"]).is_file(), image
    for link in page.links:
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target) if target else path
        assert there.is_file(), link
        if anchor and there.suffix == ".html":
            assert anchor in Page(there).ids, link


def test_the_explorer_needs_no_kernel_there_either(site):
    assert "toPrecision" in (site / "pages/01_forward_noising.html").read_text(encoding="utf-8")
