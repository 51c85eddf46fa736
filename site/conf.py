"""The course as a book, from the notebooks as they are committed:

uv run sphinx-build -W site build/site
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from references import link_pages  # noqa: E402

PAGES = HERE / "pages"  # copies, made anew at every build

project = "ddpm_course"
html_title = "Denoising diffusion, step by step"
author = "The ddpm_course authors"
copyright = author
language = "en"

extensions = ["myst_nb", "sphinx-mathjax-offline"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,  # it would hand out these copies: whoever runs them clones
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def as_page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what only a kernel needs, and with links and texts where MyST-NB looks
    for them: alternative texts in the cell, not in its output.
    """
    notebook.cells = [c for c in notebook.cells if "colab" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.source = re.sub(
            r"\.\./ddpm_course/pretrained/checkpoints/(.+?)/README", r"cards/\1", cell.source
        )
        figures = [
            o.metadata["image/png"]
            for o in cell.get("outputs", [])
            if "image/png" in o.get("metadata", {})
        ]
        if len(figures) > 1:
            raise ValueError(f"a cell has room for one figure: {cell.source}")
        for figure in figures:
            cell.metadata["mystnb"] = {"image": {"alt": figure["alt"]}}
    return notebook


shutil.rmtree(PAGES, ignore_errors=True)
(PAGES / "cards").mkdir(parents=True)
paths = sorted((HERE.parent / "notebooks").glob("*.ipynb"))
notebooks = {path.name: as_page(nbformat.read(path, as_version=4)) for path in paths}
link_pages(notebooks)
for name, notebook in notebooks.items():
    nbformat.write(notebook, PAGES / name)
for card in (HERE.parent / "ddpm_course" / "checkpoints").glob("*/README.md"):
    text = "---\norphan: true\n---\n" + card.read_text(encoding="utf-8")
    (PAGES / "cards" / f"{card.parent.name}.md").write_text(text, encoding="utf-8")
shutil.copytree(HERE.parent / "images", PAGES / "images")
