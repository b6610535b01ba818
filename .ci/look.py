"""Opens the list of runs and each newest report in headless Chromium, with the network off, on a desktop and on a telephone.

usage: look.py REPORTS [SCREENSHOTS]     a page passes when nothing is asked of the network, no script fails, every chart is drawn, nothing
runs over the edge, and the page is under 1 MB. Chromium is the system's own (Debian/Ubuntu: apt install chromium); without one it says so.
"""

import shutil
import sys
from pathlib import Path

SIZES = {"desktop": (1280, 900), "telephone": (390, 844)}
STATE = """() => ({wide: document.documentElement.scrollWidth - innerWidth, charts: document.querySelectorAll("div.chart").length,
drawn: document.querySelectorAll("div.chart svg.main-svg:first-of-type").length, heading: (document.querySelector("h1") || {}).innerText || "",
empty: [...document.querySelectorAll("main section, main figure")].filter(e => e.getBoundingClientRect().height < 8).length})"""


def _look(page, path: Path, size: str, shots: Path | None) -> list[str]:
    asked, errors = [], []
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    try:
        page.wait_for_function("() => [...document.querySelectorAll('div.chart')].every(c => c.querySelector('svg.main-svg'))", timeout=30_000)
    except Exception:
        errors.append("a chart was not drawn in 30 s")
    state = page.evaluate(STATE)
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(shots / f"{path.parent.parent.name if path.stem == 'report' else 'list'}-{size}.png"), full_page=True)
    where = f"{path.parent.parent.name}/{path.name} on a {size}"
    problems = [f"{where}: asks for {url}" for url in asked] + [f"{where}: {text}" for text in errors]
    if state["wide"] > 1:
        problems.append(f"{where}: {state['wide']} px wider than the screen")
    if not state["heading"]:
        problems.append(f"{where}: no heading")
    if state["empty"]:
        problems.append(f"{where}: {state['empty']} empty sections or figures")
    return problems


def main() -> int:
    reports, shots = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
    index = reports / "index.html"
    if not index.is_file():
        print("skipped: there is no report to look at (no study has run)")
        return 0
    newest = [sorted(f.glob("*/report.html"))[-1] for f in sorted(reports.iterdir()) if f.is_dir() and list(f.glob("*/report.html"))]
    problems = [f"{p.parent.parent.name}: {p.stat().st_size / 1e6:.2f} MB, over 1 MB" for p in newest if p.stat().st_size > 1_000_000]
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if not browser:
        print("skipped: no Chromium on this machine, the pages were not looked at (Debian/Ubuntu: apt install chromium)")
        print("\n".join(problems))
        return int(bool(problems))
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for size, (width, height) in SIZES.items():
            context = chromium.new_context(viewport={"width": width, "height": height}, offline=True)
            for path in [index, *newest]:
                page = context.new_page()
                problems += _look(page, path, size, shots)
                page.close()
        chromium.close()
    print("\n".join(problems) or f"pages: {1 + len(newest)} looked at in two sizes, network off")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
