"""One background event loop of the process, on which synchronous code runs coroutines.

>>> async def answer():
...     return 42
>>> run(answer())
42
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, run on the background loop; many threads may call this at once.

    Raises what the coroutine raises, and ``RuntimeError`` when called on that loop itself, which it would block for
    ever. An interrupt (Ctrl-C) of the waiting thread cancels the coroutine.
    """
    loop = _background()
    if threading.get_ident() == _thread_of(loop):
        coroutine.close()
        raise RuntimeError("mtr_env.llm.loop.run would wait for its own event loop; await the coroutine instead.")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


_lock = threading.Lock()
_running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None


def _background() -> asyncio.AbstractEventLoop:
    global _running
    with _lock:
        if _running is None or not _running[1].is_alive():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="mtr-env-llm", daemon=True)
            thread.start()
            _running = (loop, thread)
        return _running[0]


def _thread_of(loop: asyncio.AbstractEventLoop) -> int | None:
    return _running[1].ident if _running is not None and _running[0] is loop else None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())  # closes the clients' connections
        loop.close()


def _stop() -> None:
    global _running
    with _lock:
        running, _running = _running, None
    if running is not None and running[1].is_alive():
        running[0].call_soon_threadsafe(running[0].stop)
        running[1].join(5.0)


def _begin_in_child() -> None:
    """After a fork the thread is gone and the lock may be held by nobody; the parent's loop is left alone."""
    global _lock, _running
    _lock = threading.Lock()
    if _running is not None:
        _INHERITED.append(_running[0])
    _running = None


_INHERITED: list[asyncio.AbstractEventLoop] = []  # never closed here: it shares the parent's descriptors
atexit.register(_stop)
os.register_at_fork(after_in_child=_begin_in_child)
