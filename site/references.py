"""Cross-references of the book: from a symbol's first mention to the notation, from "Eq. 7" to the
equation, from "notebook 02" to its page. In the notebooks these are plain words.
"""

import re

from nbformat import NotebookNode

TABLE = "| symbol | in code |"
AMBIGUOUS = ("$v$", "$q$")  # a variance, a query: these letters also stand for other things
TAGGED = re.compile(r"^\$\$(?:(?!\$\$).)+\\tag\{(?:[^}]+; )?DDPM (\d+)\}\$\$$", re.M | re.S)
PART = re.compile(
    r"(?P<kept>```.*?```|`[^`\n]*`|\$\$.*?\$\$|^(?:#|\|| {4}).*?$|!?\[[^]]*\]\([^)]*\))"
    r"|(?P<symbol>\$[^$\n]+\$)"
    r"|(?P<equations>\bEqs?\. \d+(?:(?:, | and )\d+)*)"
    r"|(?P<pages>\b[Nn]otebooks? \d\d(?:(?:, | and | to )\d\d)*)",
    re.M | re.S,
)


def link_pages(notebooks: dict[str, NotebookNode]) -> None:
    """Put targets and links into the prose of all notebooks, given by file name, in place."""
    pages = {name[:2]: name for name in notebooks}
    texts = [cell.source for notebook in notebooks.values() for cell in _prose(notebook)]
    equations = {number for text in texts for number in TAGGED.findall(text)}
    symbols = _symbols(next(text for text in texts if TABLE in text))

    targets = set(equations)
    for name, notebook in notebooks.items():
        has_table = any(TABLE in cell.source for cell in _prose(notebook))
        unseen = {} if has_table else dict(symbols)
        for cell in _prose(notebook):
            cell.source = _linked(cell.source, unseen, equations, pages | {name[:2]: ""})
            cell.source = TAGGED.sub(lambda found: _target(found, targets), cell.source)
            if TABLE in cell.source:
                cell.source = f"(notation)=\n{cell.source}"


def _symbols(table: str) -> dict[str, str]:
    """Each symbol as the prose has it, and what it means in plain words, for a link's title."""
    found = {}
    for symbols, code, meaning in re.findall(r"^\| \$(.+?)\$ \| (.+?) \| (.+?) \|", table, re.M):
        words = f"{code} in code" if "\\" in meaning else f"{meaning} ({code} in code)"
        title = re.sub(r"[$`]", "", words)
        found |= {f"${symbol.split(' = ')[0]}$": title for symbol in symbols.split(r",\ ")}
    return {symbol: title for symbol, title in found.items() if symbol not in AMBIGUOUS}


def _linked(text: str, unseen: dict[str, str], equations: set[str], pages: dict[str, str]) -> str:
    def replace(part: re.Match) -> str:
        words = part[0]
        if words in unseen:
            return f'[{words}](#notation "{unseen.pop(words)}")'
        if part["equations"]:
            return re.sub(
                r"(?:Eq\. )?(\d+)",
                lambda n: f"[{n[0]}](#ddpm-{n[1]})" if n[1] in equations else n[0],
                words,
            )
        if part["pages"]:
            return re.sub(
                r"(?:[Nn]otebook )?(\d\d)",
                lambda n: f"[{n[0]}]({pages[n[1]]})" if pages.get(n[1]) else n[0],
                words,
            )
        return words

    return PART.sub(replace, text)


def _target(equation: re.Match, wanted: set[str]) -> str:
    """The equation with an anchor above it, where it is displayed for the first time."""
    if equation[1] not in wanted:
        return equation[0]
    wanted.remove(equation[1])
    return f"(ddpm-{equation[1]})=\n\n{equation[0]}"


def _prose(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]
