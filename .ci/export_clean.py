"""Does `nbdev-export` give exactly the committed package, and is every notebook clean? Works on a copy; git is not asked."""

import difflib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "tennis_research"
SKIP = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".hypothesis", "*.pyc")


def _tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))}


def main() -> int:
    problems = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp).resolve() / "copy"
        copy.mkdir()
        for name in ("pyproject.toml", "settings.ini"):
            shutil.copy(ROOT / name, copy / name)
        shutil.copytree(ROOT / "nbs", copy / "nbs", ignore=SKIP)
        (copy / PACKAGE).mkdir()
        shutil.copy(ROOT / PACKAGE / "__init__.py", copy / PACKAGE / "__init__.py")   # nbdev takes the version from it
        for command in ("nbdev-export", "nbdev-clean"):
            done = subprocess.run([str(Path(sys.executable).parent / command)], cwd=copy, capture_output=True, text=True)
            if done.returncode:
                print(f"{command} failed:\n{done.stdout}{done.stderr}")
                return 1
        made, there = _tree(copy / PACKAGE), _tree(ROOT / PACKAGE)
        for name in sorted(made.keys() | there.keys()):
            if name.endswith("__init__.py") and there.get(name, "").strip() == made.get(name, "").strip():
                continue
            if name not in made:
                if name.endswith("__init__.py") and not there[name].strip():
                    continue
                problems.append(f"{PACKAGE}/{name}: no notebook exports it; write it in nbs/ (a definition typed into the package is lost)")
            elif name not in there:
                problems.append(f"{PACKAGE}/{name}: exported by a notebook but missing; run nbdev-export")
            elif made[name] != there[name]:
                diff = list(difflib.unified_diff(there[name].splitlines(), made[name].splitlines(), "in the package", "from the notebook", lineterm="", n=1))
                problems.append(f"{PACKAGE}/{name} differs from its notebook; run nbdev-export\n" + "\n".join("    " + d for d in diff[:20]))
        for path in sorted((copy / "nbs").rglob("*.ipynb")):
            rel = path.relative_to(copy)
            if path.read_text(encoding="utf-8") != (ROOT / rel).read_text(encoding="utf-8"):
                problems.append(f"{rel}: not clean; run nbdev-clean")
    print("\n".join(problems) or "export: the package is what the notebooks say")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
