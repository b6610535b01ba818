"""Runs everything that must pass, one fresh process per notebook and study, and remembers what passed.

A check is run again when anything that it depends on has changed: its notebook, the modules that it imports (and those that they import),
the pinned packages, the real data that it can see. `--only KIND ...` runs a part, `--all` forgets the stamps, `-j N` sets the processes.
"""

import argparse
import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tennis_research"
CACHE = ROOT / ".cache"
STAMPS, LOGS, SMOKE = CACHE / "stamps", CACHE / "logs", CACHE / "smoke"
BIN = Path(sys.executable).parent
TIME_LIMIT_S = 900   # a check that takes longer hangs


@dataclass
class Check:
    """One thing that must pass."""
    kind: str                     # notebook, study, layout, export, ruff, server, pages
    name: str
    command: list[str]
    key: str                      # hash of everything that the outcome depends on
    env: dict = field(default_factory=dict)
    after: str = ""               # a kind that must have ended before

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def slug(self) -> str:
        return f"{self.kind}-{self.name}".strip("-").replace("/", "-")


def _hash(*parts: bytes | str) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else part)
        total.update(b"\0")
    return total.hexdigest()


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


# ---- what depends on what

def _module_file(name: str) -> Path | None:
    path = ROOT / Path(*name.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def _imported(source: str, package: str = "") -> set[str]:
    """Names below tennis_research that a text imports, relative ones seen from `package`; lines of IPython magic are passed over."""
    text = "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in PACKAGE.rglob("*.py")}   # unreadable: all of it
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{a.name}" for a in node.names)}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE.name}


def _closure(source: str) -> list[Path]:
    """Every module file that a text reaches through imports, also those inside functions."""
    todo, seen = list(_imported(source)), set()
    while todo:
        path = _module_file(todo.pop())
        if path and path not in seen:
            seen.add(path)
            todo += _imported(path.read_text(encoding="utf-8"), ".".join(path.relative_to(ROOT).parent.parts))
    return sorted(seen)


def _notebook_source(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code" and not "".join(c["source"]).startswith("%%"))


def _data_key() -> str:
    """Name, size and time of every real-data file that the checks can see."""
    root = Path(os.environ.get("TENNIS_DATA") or ROOT / "data" / "external")
    root = root if root.is_absolute() else ROOT / root
    if not root.is_dir():
        return "no data"
    return _hash(*(f"{p.relative_to(root)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in sorted(root.rglob("*")) if p.is_file()))


def _common() -> str:
    """What every outcome depends on: pins, settings, Python, data, and the parameters shipped with the package."""
    shipped = [p for p in sorted(PACKAGE.rglob("*")) if p.is_file() and p.suffix not in (".py", ".pyc", ".nbi", ".nbc")]
    files = [ROOT / "requirements.lock", ROOT / "pyproject.toml", ROOT / "settings.ini", Path(__file__), *shipped]
    return _hash(sys.version, _data_key(), *(f"{p.relative_to(ROOT)}" for p in shipped), *(_read(p) for p in files))


def _all_files(*patterns: str) -> str:
    paths = sorted({p for pattern in patterns for p in ROOT.glob(pattern) if p.is_file() and not any(x.startswith(".ipynb") for x in p.parts)})
    return _hash(*(part for p in paths for part in (str(p.relative_to(ROOT)), _read(p))))


# ---- the checks

def collect(only: set[str]) -> list[Check]:
    common, checks = _common(), []
    notebooks = sorted(p for p in (ROOT / "nbs").glob("*.ipynb"))
    studies = sorted((ROOT / "nbs" / "studies").glob("s*.ipynb"))
    alone = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    for path in notebooks:
        key = _hash(common, _read(path), *(_read(p) for p in _closure(_notebook_source(path))))
        checks.append(Check("notebook", path.stem, [str(BIN / "nbdev-test"), str(path.relative_to(ROOT)), "--do-print"], key, alone))
    for path in studies:
        text = _notebook_source(path) + "\nimport tennis_research.reporting"
        key = _hash(common, _read(path), _read(PACKAGE / "cli.py"), *(_read(p) for p in _closure(text)))
        command = [str(BIN / "tennis-research"), "run", path.stem, "--fast", "--out", str(SMOKE)]
        env = {**alone, "MLFLOW_TRACKING_URI": f"sqlite:///{SMOKE / 'mlruns.db'}"}
        checks.append(Check("study", path.stem, command, key, env))
    everything = _all_files("nbs/**/*.ipynb", "tennis_research/**/*.py", "pyproject.toml", ".ci/*")
    house = _hash(common, *(_read(p) for p in _closure("import tennis_research.tracking, tennis_research.reporting")), _all_files(".ci/*"))
    checks += [
        Check("layout", "", [sys.executable, ".ci/layout.py"], everything),
        Check("export", "", [sys.executable, ".ci/export_clean.py"], everything),
        Check("ruff", "", [str(BIN / "ruff"), "check", "--quiet", "--no-cache", "tennis_research", ".ci"], everything),
        Check("server", "MLflow", [sys.executable, ".ci/tracking_server.py"], house),
        Check("pages", "in a browser", [sys.executable, ".ci/look.py", str(SMOKE)], _hash(house, *(c.key for c in checks if c.kind == "study")), after="study"),
    ]
    return [c for c in checks if not only or c.kind in only]


# ---- running them

_children: set[subprocess.Popen] = set()
_lock = threading.Lock()


def _stop_children(*_):
    with _lock:
        for child in _children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    print("\nstopped", flush=True)
    os._exit(130)


def run(check: Check) -> dict:
    """Run one check in its own process group and return its record."""
    log, missing = LOGS / f"{check.slug}.log", tempfile.NamedTemporaryFile(delete=False)
    missing.close()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TENNIS_MISSING_LOG": missing.name, "JUPYTER_PREFER_ENV_PATH": "1", "MPLBACKEND": "agg",
                        "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"), "PYTHONWARNINGS": "ignore::DeprecationWarning"} | check.env
    env.pop("TENNIS_RUN_DIR", None)
    if check.kind == "study":   # only the newest smoke run is kept
        shutil.rmtree(SMOKE / check.name, ignore_errors=True)
    began = time.monotonic()
    with open(log, "wb") as out:
        child = subprocess.Popen(check.command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        with _lock:
            _children.add(child)
        try:
            code = child.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            code = -1
            out.write(f"\nstopped after {TIME_LIMIT_S} s\n".encode())
        with _lock:
            _children.discard(child)
    absent = sorted(set(Path(missing.name).read_text().splitlines()))
    os.unlink(missing.name)
    said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("skipped: ")]
    record = {"key": check.key, "passed": code == 0, "seconds": round(time.monotonic() - began, 1), "absent": absent, "said": said}
    if code < 0 and code != -1:
        with open(log, "a") as out:
            out.write(f"\nended by signal {-code} ({signal.Signals(-code).name})\n")
    return record


def _stamp(check: Check) -> Path:
    return STAMPS / f"{check.slug}.json"


def _previous(check: Check) -> dict:
    try:
        return json.loads(_stamp(check).read_text())
    except (OSError, ValueError):
        return {}


def _sentence(check: Check, record: dict) -> str:
    mark = "passed" if record["passed"] else "FAILED"
    return f"{mark} {record['seconds']:6.1f} s  {check.label}"


def run_all(checks: list[Check], jobs: int, again: bool) -> tuple[dict[str, dict], int]:
    """Run what is not stamped, the longest first, and print each as it ends."""
    results, todo = {}, []
    for check in checks:
        old = _previous(check)
        if not again and old.get("passed") and old.get("key") == check.key:
            results[check.label] = old
        else:
            todo.append((check, old.get("seconds", 30.0)))
    unchanged = len(results)
    if unchanged:
        print(f"{unchanged} of {len(checks)} unchanged since they passed", flush=True)
    todo.sort(key=lambda pair: -pair[1])
    first, later = [c for c, _ in todo if not c.after], [c for c, _ in todo if c.after]
    if any(c.kind == "study" for c in first):
        SMOKE.mkdir(parents=True, exist_ok=True)
    for group in (first, later):
        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(run, check): check for check in group}
            for future in as_completed(futures):
                check, record = futures[future], future.result()
                _stamp(check).write_text(json.dumps(record))
                results[check.label] = record
                print(_sentence(check, record), flush=True)
    return results, unchanged


def summary(checks: list[Check], results: dict[str, dict]) -> tuple[str, bool]:
    """Print the logs of what failed, what was skipped and why, and the count."""
    failed = [c for c in checks if not results[c.label]["passed"]]
    for check in failed:
        log = LOGS / f"{check.slug}.log"
        tail = log.read_text(errors="replace").splitlines()[-30:] if log.is_file() else []
        print(f"\n---- {check.label}: last {len(tail)} lines of {log.relative_to(ROOT)}\n" + "\n".join(tail))
    skipped = 0
    for check in checks:
        record = results[check.label]
        absent = record["absent"]
        if absent:
            skipped += 1
            more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
            print(f"skipped in {check.label}: what needs {', '.join(absent[:4])}{more}, which is not there")
        for line in record["said"]:
            skipped += 1
            print(f"skipped in {check.label}: {line.removeprefix('skipped: ')}")
    passed = len(checks) - len(failed)
    line = f"{passed} passed, {len(failed)} failed" + (f", {skipped} with checks skipped" if skipped else "")
    report = {"passed": passed, "failed": [c.label for c in failed], "skipped": skipped, "line": line}
    (CACHE / "test.json").write_text(json.dumps(report))
    return line, not failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], choices=["notebook", "study", "layout", "export", "ruff", "server", "pages"], help="run these kinds")
    parser.add_argument("--all", action="store_true", help="run also what has not changed")
    parser.add_argument("-j", "--jobs", type=int, default=0, help="processes at once; all cores by default")
    args = parser.parse_args()
    os.chdir(ROOT)
    jobs = args.jobs or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)
    for folder in (STAMPS, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, _stop_children)
    signal.signal(signal.SIGTERM, _stop_children)
    began, checks = time.monotonic(), collect(set(args.only))
    if shutil.disk_usage(CACHE).free < 500e6:
        print("less than 500 MB of disk are free: expect failures", flush=True)
    results, _ = run_all(checks, jobs, args.all)
    line, good = summary(checks, results)
    print(f"{line} ({time.monotonic() - began:.0f} s)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
