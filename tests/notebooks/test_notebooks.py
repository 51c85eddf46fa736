"""What holds for every notebook. That each one runs as it stands is nbval's part of `pytest`."""

import ast
import base64
import io
import re
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter
from PIL import Image
from run_notebooks import PATHS, run, solved, tags
from test_exercises import NOTEBOOKS

import ddpm_course
from ddpm_course.exercises.grading import exercise_name, grade, read_notebook

each = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def code_cells(path):
    return [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]


@each
def test_committed_executed_in_order_and_without_errors(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@each
def test_committed_without_widget_state(path):
    notebook = read_notebook(path)
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in path.read_text()
    assert notebook.metadata.kernelspec.name == "python3"


@each
def test_small(path):
    assert path.stat().st_size <= 600_000
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, cell.source


@each
def test_no_photograph_was_in_when_it_was_run(path):
    sources = [c for c in code_cells(path) if "data-source" in tags(c)]
    assert len(sources) == 1
    text = "".join(output.text for output in sources[0].outputs)
    assert text.startswith("Data: starter set")


@each
def test_every_figure_has_alternative_text(path):
    pictures = 0
    for output in (output for cell in code_cells(path) for output in cell.outputs):
        if "image/png" in output.get("data", {}):
            pictures += 1
            alt = output.metadata["image/png"]["alt"]
            assert len(alt) > 30
            image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
            assert image.width <= 1000  # readable on a laptop without being scaled down
    assert pictures > 0


@each
def test_says_what_it_teaches_needs_and_takes(path):
    first = read_notebook(path).cells[0].source
    assert re.match(rf"# {path.stem[:2]} · ", first)
    for part in ("After this notebook you can", "**You need**", "**Time:**"):
        assert part in first
    assert "arxiv.org" in read_notebook(path).cells[-1].source


def test_all_open_in_colab_the_same_way():
    """The second cell fetches the course there, and nowhere else; it is folded away."""
    [source] = {read_notebook(path).cells[1].source for path in PATHS}
    assert '"google.colab" in' in source
    assert all(read_notebook(path).cells[1].metadata.jupyter.source_hidden for path in PATHS)


@each
def test_every_exercise_has_a_cell_and_every_cell_an_exercise(path):
    names = [name for cell in read_notebook(path).cells if (name := exercise_name(cell))]
    assert sorted(names) == sorted(NOTEBOOKS[path.stem[3:]].by_name)
    assert len(names) >= 3


@each
def test_every_exercise_can_be_solved_where_it_stands(path):
    """By our solution, which the stub is not: with the notebook's own imports and nothing else."""
    exercises = NOTEBOOKS[path.stem[3:]]
    for cell in code_cells(path):
        if name := exercise_name(cell):
            assert cell.outputs[0].text.startswith(f"○ {name}: not attempted yet.")
    for answer in grade(solved(read_notebook(path), exercises), read_notebook(path)):
        assert (answer.mark, answer.why) == ("correct", "")


@pytest.mark.release
@each
def test_runs_with_and_without_real_data(path, real_flowers, tmp_path):
    for root, opening in ((real_flowers, "Data: photographs"), (tmp_path, "Data: starter set")):
        notebook = run(read_notebook(path), DDPM_DATA_ROOT=str(root))
        [cell] = [c for c in notebook.cells if "data-source" in tags(c)]
        assert cell.outputs[0].text.startswith(opening)


@each
def test_reads_as_a_page_without_kernel(path):
    """Exported to HTML, every figure is in it, with its alternative text."""
    page, _ = HTMLExporter().from_notebook_node(read_notebook(path))
    pictures = re.findall(r"<img[^>]*data:image/png[^>]*>", page, flags=re.DOTALL)
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs)
    for picture in pictures:
        assert re.search(r'alt="[^"]{30,}"', picture), picture[-200:]


def bodies(tree):
    """Each function's statements without its docstring, as one comparable string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            statements = node.body[documented:]
            text = "\n".join(ast.dump(statement) for statement in statements)
            yield node.name, re.sub(r"'self', ", "", text)


PACKAGE = Path(ddpm_course.__file__).parent
OURS = {
    text: f"{path.stem}.{name}"
    for path in PACKAGE.glob("*.py")
    for name, text in bodies(ast.parse(path.read_text(encoding="utf-8")))
}


@each
def test_defines_nothing_that_the_package_has(path):
    for cell in code_cells(path):
        python = TransformerManager().transform_cell(cell.source)  # `!git` and `%cd` are not
        for name, text in bodies(ast.parse(python)):
            if exercise_name(cell) is None and "\n" in text:
                assert text not in OURS, f"{name} is {OURS[text]}"
