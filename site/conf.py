"""The course as a book, from the notebooks and the manual as they are committed:

uv run sphinx-build -W site build/site

`pages/` becomes a copy of the repository's tree, so that relative links work as they do there.
"""

import shutil
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import live_files  # noqa: E402
from references import link_pages  # noqa: E402

PAGES = HERE / "pages"  # recreated by every build
COPIED = [
    "docs/*.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "ddpm_course/pretrained/checkpoints/*/README.md",
    "ddpm_course/pretrained/checkpoints/*/*.png",
    "images/*.*",
]

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
html_extra_path = [str(live_files.EXTRA)]
exclude_patterns = ["live"]  # its parts, not pages
html_css_files = ["book.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,  # these copies lack what a kernel needs
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def as_page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without the Colab cell, which only a kernel needs. MyST-NB looks for the
    alternative text of a figure in the cell, not in its output.
    """
    notebook.cells = [c for c in notebook.cells if "colab" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        figures = [
            o.metadata["image/png"]
            for o in cell.get("outputs", [])
            if "image/png" in o.get("metadata", {})
        ]
        if len(figures) > 1:
            raise ValueError(f"A page shows one figure per cell, but this has more: {cell.source}")
        for figure in figures:
            cell.metadata["mystnb"] = {"image": {"alt": figure["alt"]}}
    return notebook


live_files.build()
shutil.rmtree(PAGES, ignore_errors=True)
for path in (path for pattern in COPIED for path in ROOT.glob(pattern)):
    page = PAGES / path.relative_to(ROOT)
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, page)

notebooks = {
    path.name: as_page(nbformat.read(path, as_version=4))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
link_pages(notebooks)
(PAGES / "notebooks").mkdir()
for name, notebook in notebooks.items():
    nbformat.write(notebook, PAGES / "notebooks" / name)
