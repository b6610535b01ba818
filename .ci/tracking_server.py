"""Tracking against a real MLflow server: a run started, measured and closed over HTTP is what the server's own store then holds."""

import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(url: str, server: subprocess.Popen, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"mlflow server ended with code {server.returncode}")
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise SystemExit(f"mlflow server did not answer in {seconds:.0f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as tmp:
        home, port = Path(tmp).resolve(), _free_port()
        uri, store = f"http://127.0.0.1:{port}", home / "server.db"
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(home / "artifacts")]
        with open(home / "server.log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=home, start_new_session=True)
        try:
            _wait(f"{uri}/health", server, 120)
            os.environ["MLFLOW_TRACKING_URI"] = uri
            from tennis_research.tracking import start_run
            (home / "points.csv").write_bytes(b"abc")
            run = start_run("s00_server", {"fast": True}, [home / "points.csv"], "synthetic", out=home / "run", seed=7)
            run.metrics({"log_loss": 0.4053, **{f"bin_{i}": i / 20 for i in range(1500)}})   # more than one batch holds
            run.finish()
            assert run.manifest["state"] == "finished" and "error" not in run.manifest["mlflow"], run.manifest
            from tennis_research.tracking import _client
            found = _client(uri).get_run(run.manifest["mlflow"]["run_id"])
            assert found.info.status == "FINISHED" and found.data.params["seed"] == "7"
            assert abs(found.data.metrics["log_loss"] - 0.4053) < 1e-12 and len(found.data.metrics) == 1501
        finally:
            try:
                os.killpg(server.pid, 15)
                server.wait(15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, 9)
        with sqlite3.connect(store) as db:   # not what the client says, what the server wrote
            assert db.execute("select count(*) from metrics").fetchone()[0] == 1501
    print("tracking: one run over HTTP, 1501 metrics stored")


if __name__ == "__main__":
    main()
