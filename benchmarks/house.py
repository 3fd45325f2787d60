"""How large the code's files and functions are, and how its packages hang together (ADR 095).

    python -m benchmarks.house [TREE]

Reads the Python files below ``securesplit`` and ``training`` that git tracks in TREE, and imports none of them. A
function counts from its ``def`` to its last line, docstring included. A room is a package or a module directly below
one of the two; an arrow leads from one room to another that it imports from, wherever in a file the import stands. A
cycle is a set of modules, or of rooms, that reach each other.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.table import show
from training import command

ROOTS = ("securesplit", "training")


def modules(tree: Path) -> dict[str, ast.Module]:
    """Every module of both packages by name, parsed."""
    command = ["git", "-C", str(tree), "ls-files", "--", *(f"{root}/*.py" for root in ROOTS)]
    files = [Path(line) for line in subprocess.check_output(command, text=True).splitlines()]
    parts = {file: file.with_suffix("").parts for file in files if (tree / file).is_file()}
    return {
        ".".join(names[:-1] if names[-1] == "__init__" else names): ast.parse((tree / file).read_text("utf-8"))
        for file, names in parts.items()
    }


def imports(parsed: ast.Module, known: Mapping[str, ast.Module]) -> Iterator[str]:
    """The modules of ours that one imports."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known else str(node.module) for name in full)


def room_of(module: str) -> str:
    """The package or the module that lies directly below a root; the root's own ``__init__`` is its root."""
    return ".".join(module.split(".")[:2])


def cycles(arrows: set[tuple[str, str]]) -> int:
    """How many sets of more than one reach each other."""
    names = sorted({name for arrow in arrows for name in arrow})
    place = {name: number for number, name in enumerate(names)}
    rows, columns = zip(*((place[a], place[b]) for a, b in arrows), strict=True)
    graph = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, component = connected_components(graph, connection="strong")
    return int((np.bincount(component) > 1).sum())


def sizes(what: str, lines: list[int]) -> list[object]:
    """A row of the table of sizes."""
    return [what, len(lines), statistics.median(lines), int(np.percentile(lines, 90)), max(lines)]


def main() -> None:
    """Count and print."""
    parser = command.parser(__doc__)
    parser.add_argument("tree", nargs="?", type=Path, default=Path())
    known = modules(parser.parse_args().tree)
    files = [max((getattr(node, "end_lineno", 0) for node in ast.walk(each)), default=0) for each in known.values()]
    functions = [
        int(node.end_lineno or node.lineno) - node.lineno + 1
        for each in known.values()
        for node in ast.walk(each)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    arrows = {(name, other) for name, each in known.items() for other in imports(each, known) if other != name}
    rooms = {(room_of(a), room_of(b)) for a, b in arrows}
    between = {(a, b) for a, b in rooms if a != b}
    show(
        "house: lines",
        ["of", "number", "median", "90th percentile", "largest"],
        [sizes("files", [n for n in files if n]), sizes("functions", functions)],
    )
    rows = []
    for root in ROOTS:
        names = {room_of(name) for name in known if name.startswith(f"{root}.")}
        packages = {room_of(name) for name in known if name.startswith(f"{root}.") and name.count(".") > 1}
        ours = {(a, b) for a, b in between if a in names and b in names}
        of_packages = {(a, b) for a, b in ours if a in packages and b in packages}
        rows.append([root, len(packages), len(of_packages), len(names), len(ours)])
    columns = ["root", "packages", "arrows between them", "with lone modules", "arrows between all"]
    show("house: rooms", columns, rows)
    show("house: cycles", ["of modules", "of rooms"], [[cycles(arrows), cycles(between)]])


if __name__ == "__main__":
    main()
