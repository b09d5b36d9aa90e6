"""An application behind a real server on loopback, in a thread, for as long as a `with` block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from mtr_env.serving import Application, make_server


@contextlib.contextmanager
def served(application: Application, **options: Any) -> Iterator[str]:
    """The server's URL; it listens on any free port and has stopped when the block ends."""
    urls: list[str] = []
    ready = threading.Event()
    server = make_server(application, started=lambda url: (urls.append(url), ready.set()), **options)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert ready.wait(30), "the server did not start"
        yield urls[0]
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
