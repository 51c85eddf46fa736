"""What holds for every notebook. nbval's part of `pytest` runs each one as it stands."""

import ast
import base64
import io
import re
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from nbconvert import HTMLExporter
from PIL import Image
from run_notebooks import NOTEBOOKS, PATHS, run, solved, tags

import ddpm_course
from ddpm_course.exercises.grading import exercise_name, grade, read_notebook

each = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def code_cells(path):
    return [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def figures(path):
    return [output for output in outputs(path) if "image/png" in output.get("data", {})]


@each
def test_committed_executed_in_order_and_without_errors(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"


@each
def test_committed_without_widget_state(path):
    notebook = read_notebook(path)
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in path.read_text(encoding="utf-8")
    assert notebook.metadata.kernelspec.name == "python3"


@each
def test_file_and_cells_are_small(path):
    assert path.stat().st_size <= 1_000_000
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15, cell.source


@each
def test_committed_without_photographs(path):
    [cell] = [cell for cell in code_cells(path) if "data-source" in tags(cell)]
    text = "".join(output.text for output in cell.outputs)
    assert text.startswith("Data: starter set")


@each
def test_every_figure_has_alternative_text_and_fits_a_laptop(path):
    assert figures(path)
    for output in figures(path):
        facts = output.metadata["image/png"]
        assert len(facts["alt"]) > 30
        image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        assert facts.get("width", image.width) <= 1000


@each
def test_opening_names_goals_needs_and_time(path):
    cells = read_notebook(path).cells
    assert re.match(rf"# {path.stem[:2]} · ", cells[0].source)
    for part in ("After this notebook you can", "**You need**", "**Time:**"):
        assert part in cells[0].source
    assert "arxiv.org" in cells[-1].source


def test_all_open_in_colab_the_same_way():
    """The second cell, folded away, fetches the course there and does nothing elsewhere."""
    seconds = [read_notebook(path).cells[1] for path in PATHS]
    [source] = {cell.source for cell in seconds}
    assert '"google.colab" in' in source
    assert all(cell.metadata.jupyter.source_hidden for cell in seconds)


@each
def test_every_exercise_has_a_cell_and_every_cell_an_exercise(path):
    names = [name for cell in read_notebook(path).cells if (name := exercise_name(cell))]
    assert sorted(names) == sorted(NOTEBOOKS[path.stem[3:]].by_name)
    assert len(names) >= 3


def imports(path):
    """What the notebook's cells import, and nothing else of them."""
    trees = [ast.parse(TransformerManager().transform_cell(c.source)) for c in code_cells(path)]
    lines = [line for tree in trees for line in tree.body]
    return "\n".join(ast.unparse(n) for n in lines if isinstance(n, ast.Import | ast.ImportFrom))


@each
def test_the_course_loads_before_torch(path):
    """Torch's threads read what `ddpm_course` sets, so that they don't spin on a busy computer."""
    lines = [line for line in imports(path).splitlines() if re.search("ddpm_course|torch", line)]
    assert lines[0] == "import ddpm_course as dc"


@each
def test_every_exercise_can_be_solved_where_it_stands(path, capsys):
    """Our solution is correct and the stub is not, with the notebook's imports and nothing else."""
    exercises, shell = NOTEBOOKS[path.stem[3:]], InteractiveShell(history_length=0)
    shell.run_cell(imports(path)).raise_error()
    stubs = {name: cell for cell in code_cells(path) if (name := exercise_name(cell))}
    answers = {exercise_name(cell): cell for cell in solved(read_notebook(path), exercises).cells}
    for name, stub in stubs.items():
        assert stub.outputs[0].text.startswith(f"○ {name}: not attempted yet.")
        capsys.readouterr()
        shell.run_cell(answers[name].source).raise_error()
        assert capsys.readouterr().out == f"✓ {name}: correct\n"


@pytest.mark.release
@each
def test_a_solved_notebook_is_graded_correct(path):
    solutions = solved(read_notebook(path), NOTEBOOKS[path.stem[3:]])
    for answer in grade(solutions, read_notebook(path)):
        assert (answer.mark, answer.why) == ("correct", "")


@pytest.mark.release
@each
def test_runs_with_and_without_real_data(path, real_flowers, tmp_path):
    for root, opening in ((real_flowers, "Data: photographs"), (tmp_path, "Data: starter set")):
        notebook = run(read_notebook(path), DDPM_DATA_ROOT=str(root))
        [cell] = [cell for cell in notebook.cells if "data-source" in tags(cell)]
        assert cell.outputs[0].text.startswith(opening)


@each
def test_reads_as_a_page_without_kernel(path):
    """Exported to HTML, every figure is in it, with its alternative text."""
    page, _ = HTMLExporter().from_notebook_node(read_notebook(path))
    images = re.findall(r"<img[^>]*data:image/png[^>]*>", page, flags=re.DOTALL)
    assert len(images) == len(figures(path))
    for image in images:
        assert re.search(r'alt="[^"]{30,}"', image), image[-200:]


def bodies(tree):
    """(name, statements as text) of each function, without docstring and `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            statements = node.body[documented:]
            text = "\n".join(ast.dump(statement) for statement in statements)
            yield node.name, re.sub(r"'self', ", "", text)


PACKAGE = Path(ddpm_course.__file__).parent
OURS = {
    text: f"{path.stem}.{name}"
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "exercises"
    for name, text in bodies(ast.parse(path.read_text(encoding="utf-8")))
}


@each
def test_defines_nothing_that_the_package_has(path):
    for cell in code_cells(path):
        python = TransformerManager().transform_cell(cell.source)  # `!git` and `%cd` are no Python
        for name, text in bodies(ast.parse(python)):
            if exercise_name(cell) is None and "\n" in text:
                assert text not in OURS, f"{name} is {OURS[text]}"
