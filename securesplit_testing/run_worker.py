"""tail-worker with a small engine: ``python -m securesplit_testing.run_worker CERTS ENGINE BIND WORKERS [NAME=VALUE]``.

The engine ``bundle`` is the real one: the default bundle's tail; with ``rest_s=`` it rests so long before each release,
in place of a larger network. With ``encrypted=yes`` the small ones take
ciphertexts. With ``ray=HOST:PORT`` tails are actors of that cluster. With ``own_credentials=yes`` the certificates are
given to the worker as a program has them, and read once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from securesplit.cli.logs import logging_to_stderr
from securesplit.errors import SecureSplitError
from securesplit.pki import keystore
from securesplit.worker.service import Ready, serve_tail
from securesplit.worker.settings import PoolSettings, RaySettings, WorkerSettings
from securesplit_testing.ciphertexts import serve_encrypted
from securesplit_testing.serving import now, serve_bundle, serve_engine


def announce(ready: Ready) -> None:
    sys.stderr.write(f"ready at {ready.endpoint} with {ready.workers} metrics {ready.metrics}\n")


def main(certs: str, engine: str, bind: str, workers: str, *options: str) -> int:
    os.environ.pop("LD_PRELOAD", None)  # what a test puts into a front is not for its tails
    named = dict(option.split("=", 1) for option in options)
    pool = PoolSettings(
        workers=int(workers),
        job_timeout_s=float(named.pop("job_timeout_s", "5")),
        most_workers=int(named.pop("most_workers", "0")),
        quiet_s=float(named.pop("quiet_s", "60")),
        ray=RaySettings(named.pop("ray")) if "ray" in named else None,
        pin=bool(named.pop("pin", "")),
        confine=bool(named.pop("confine", "yes")),
    )
    serve = serve_encrypted if named.pop("encrypted", "") else serve_engine
    form: Any = named.pop("log_format", "text")
    metrics = named.pop("metrics", None)
    session_log = Path(named.pop("session_log")) if "session_log" in named else None
    is_given = bool(named.pop("own_credentials", ""))
    chosen: dict[str, Any] = {name: float(value) if name.endswith("_s") else value for name, value in named.items()}
    settings = WorkerSettings(
        bind,
        certs=None if is_given else Path(certs),
        credentials=keystore.load_server(Path(certs), now=now()) if is_given else None,
        workers=int(workers),
        pool=pool,
        metrics=metrics,
        session_log=session_log,
    )
    try:
        served = serve_bundle(**chosen) if engine == "bundle" else serve(engine, **chosen)
        with logging_to_stderr("info", form):
            return serve_tail(served, settings, on_ready=announce)
    except SecureSplitError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
