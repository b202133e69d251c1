"""The process at the other end of a soak: it says where it listens, and obeys lines until its input ends."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def running(module: str, *words: str) -> AsyncIterator[tuple[str, trio.Process]]:
    """Run a module of ours; give its first line and the process. Raises ChildProcessError when it says nothing."""
    command = [sys.executable, "-m", module, *words]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = b""
        while not line.endswith(b"\n"):
            read = await process.stdout.receive_some()
            if not read:
                raise ChildProcessError(f"{module} ended before it said where it listens")
            line += read
        yield line.decode(), process
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()
