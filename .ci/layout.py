"""The rules of layout that a machine can check: one module per notebook, rooms that import only downwards, small cells, clean outputs."""

import ast
import json
import re
from collections import defaultdict
from pathlib import Path

MAX_LINES, MAX_CELLS, MAX_CELL_LINES, MAX_OUTPUT = 400, 60, 60, 50_000
EXPORT = re.compile(r"^\s*#\|\s*exporti?\b", re.M)
DEFAULT = re.compile(r"^\s*#\|\s*default_exp\s+(\S+)", re.M)
CHECKS = re.compile(r"\bassert\b|\btest_\w+\(|\bexpect_fail\b")


def _code(cells):
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def _output_bytes(cells):
    return sum(len(json.dumps(c.get("outputs", []))) for c in cells if c["cell_type"] == "code" and c.get("outputs"))


def _order(path):
    """The room's place: 05 < 05a < 06. Studies come after every room."""
    found = re.match(r"(\d\d)([a-z]?)_", path.name)
    return (int(found[1]), found[2]) if found else None


def _imports(source, package):
    """Modules of the package that a piece of code imports, wherever in the code."""
    lines = [line for line in source.splitlines() if not re.match(r"\s*[%!]", line)]
    try:
        tree = ast.parse("\n".join(lines), mode="exec")
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            yield node.module.removeprefix(package).lstrip("."), node, [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package:
                    yield alias.name.removeprefix(package).lstrip("."), node, []


def check(root: Path, package: str = "tennis_research") -> list[str]:
    """Every breach, one sentence each."""
    out, rooms, books = [], defaultdict(list), {}
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        name = str(path.relative_to(root))
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (ValueError, KeyError) as error:
            out.append(f"{name}: not readable as a notebook ({error})")
            continue
        books[path] = cells
        for module in {m for source in _code(cells) for m in DEFAULT.findall(source)}:
            rooms[module].append(path)

    out += [f"{module} is exported by {', '.join(p.name for p in paths)}: the later one silently wins" for module, paths in rooms.items() if len(paths) > 1]
    order = {module: _order(paths[0]) for module, paths in rooms.items()}
    for path, cells in books.items():
        out += [f"{path.relative_to(root)}: {sentence}" for sentence in _notebook(path, cells, order, package, path.parent.name == "studies")]
    for path in sorted((root / package).rglob("*.py")):
        if re.search(r"^from \S+ import \*", path.read_text(encoding="utf-8"), re.M):
            out.append(f"{path.relative_to(root)}: star import")
    return out


def _notebook(path, cells, order, package, study):
    source = _code(cells)
    exported = [s for s in source if EXPORT.search(s)]
    modules = [m for s in source for m in DEFAULT.findall(s)]
    lines = sum(len(s.splitlines()) for s in exported)
    here = (100, "") if study else _order(path)
    if here is None:
        yield "the name must begin with two digits and an underscore (05_scoring.ipynb)"
    if len(cells) > MAX_CELLS:
        yield f"{len(cells)} cells; {MAX_CELLS} at most, split it"
    if lines > MAX_LINES:
        yield f"{lines} exported lines; {MAX_LINES} at most, split it"
    if (big := max((len(s.splitlines()) for s in exported), default=0)) > MAX_CELL_LINES:
        yield f"an exported cell of {big} lines; 25 is the aim, {MAX_CELL_LINES} the limit"
    if exported and not modules:
        yield "exports cells and has no default_exp"
    if len(set(modules)) > 1:
        yield f"exports more than one module: {', '.join(modules)}"
    if study and (exported or modules):
        yield "a study never exports; move the code into a numbered notebook"
    if exported and not any(CHECKS.search(s) for s in source):
        yield "exports code and checks nothing"
    if any(re.search(r"^from \S+ import \*", s, re.M) for s in source):
        yield "star import"
    size = _output_bytes(cells)
    if study and any(c.get("outputs") or c.get("execution_count") for c in cells if c["cell_type"] == "code"):
        yield "a study is committed without outputs (nbdev-clean does not remove them; use jupyter nbconvert --clear-output --inplace)"
    elif size > MAX_OUTPUT:
        yield f"{size / 1000:.0f} kB of outputs; {MAX_OUTPUT / 1000:.0f} kB at most"
    tags = [t for c in cells for t in c.get("metadata", {}).get("tags", [])]
    if study and tags.count("parameters") != 1:
        yield "a study has exactly one cell tagged `parameters`"
    own = modules[0] if modules else None
    for text in source:
        for module, _, names in _imports(text, package):
            for target in [module, *(f"{module}.{n}".lstrip(".") for n in names)]:
                if target in order and target != own and here and not order[target] < here:
                    yield f"imports {target}, which has the same or a higher number"


if __name__ == "__main__":
    import sys

    problems = check(Path(__file__).resolve().parent.parent)
    print("\n".join(problems) or "layout: nothing to report")
    sys.exit(bool(problems))
