__version__ = "0.1.0"


def _drop_stale_kernels() -> None:
    """Delete compiled kernels that are older than the newest source of the package, before any of them is loaded.

    Numba compares a cached kernel with its own file only. A kernel that inlines another module's would go on with the old code after a change
    there, and give wrong prices without a word.
    """
    import contextlib
    import os
    import sys
    folder = os.path.dirname(__file__)
    found = [(entry.path, entry.stat().st_mtime_ns) for top, _, _ in os.walk(folder) for entry in os.scandir(top) if entry.is_file()]
    newest = max(time for path, time in found if path.endswith(".py"))
    if "IPython" in sys.modules:  # exported cells that run in a notebook are cached by IPython
        from IPython.paths import get_ipython_cache_dir
        cells = os.path.join(get_ipython_cache_dir(), "numba_cache")
        found += [(e.path, e.stat().st_mtime_ns) for e in os.scandir(cells) if e.is_file()] if os.path.isdir(cells) else []
    for path, time in found:
        if path.endswith((".nbi", ".nbc")) and time < newest:
            with contextlib.suppress(OSError):
                os.unlink(path)


try:
    _drop_stale_kernels()
except OSError:  # a read-only or vanishing folder is no reason not to price
    pass
