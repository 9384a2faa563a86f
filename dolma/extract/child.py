"""Child processes that open what others wrote: one may crash, hang, leak or be killed, and only the document that it had is hurt.

A request is a line of JSON (with `size`) and `size` bytes; the answer is a line of JSON (with `size`) and `size` bytes. The first line of a child is its
hello: `{"ready": true}`, or `{"missing": "package"}`.
"""

import atexit
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar, cast

from dolma.core.errors import EnvironmentFault

START_SECONDS = 120  # importing an engine on a loaded machine; after that the machine, not a document, is at fault
PIPE = 1 << 20  # bytes that a pipe holds, where the system allows it: a page goes in one piece


class Died(Exception):
    """The child ended or did not answer in time; its argument is the status: crashed or timeout."""


class Child:
    """One child. `ask` answers in bounded time whatever the document does; a child that ended is started again by the next `ask`.

    Args:
        command: a program of its own, never a fork.
        name: what an error calls it.
        install: what to install when it says that a package is missing.
        memory_mb: the limit that the program sets itself; named in the error when it does not start.
        recycle: documents after which it is replaced, so that a leak stays small.
        env: its environment, where it is not this one.
    """

    def __init__(self, command: Sequence[str], *, name: str, install: str, memory_mb: int, recycle: int, env: Mapping[str, str] | None = None) -> None:
        self.command, self.name, self.install, self.memory_mb, self.recycle, self.env = command, name, install, memory_mb, recycle, env
        self.child: subprocess.Popen[bytes] | None = None
        self.served, self.kept = 0, bytearray()

    def ask(self, request: Mapping[str, Any], content: bytes, *, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The answer to one request about one document, at most `seconds` of wall time later.

        Raises:
            Died: it has none; the child is gone.
            EnvironmentFault: the child does not start.
        """
        if self.child is None or self.served >= self.recycle or self.child.poll() is not None:
            self._start()
        self.served += 1
        end = time.monotonic() + seconds
        try:
            self._send(json.dumps({**request, "size": len(content)}).encode() + b"\n" + content, end)
            answer = json.loads(self._line(end))
            return answer, self._take(answer["size"], end)
        except Died:
            self.close()
            raise
        except (ValueError, KeyError) as error:  # an answer that is none: whatever wrote it is not to be trusted further
            self.close()
            raise Died("crashed") from error

    def close(self) -> None:
        """End the child, if there is one."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            for pipe in (self.child.stdin, self.child.stdout):
                if pipe is not None:
                    pipe.close()
        self.child, self.served, self.kept = None, 0, bytearray()

    def _start(self) -> None:
        self.close()
        child = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=None if self.env is None else dict(self.env)
        )
        self.child = child
        assert child.stdin and child.stdout
        for pipe in (child.stdin, child.stdout):
            os.set_blocking(pipe.fileno(), False)
            _widen(pipe.fileno())
        try:
            hello = json.loads(self._line(time.monotonic() + START_SECONDS))
        except Died as died:
            self.close()
            raise EnvironmentFault(
                self.name,
                "the process does not start",
                got=str(died),
                expected=f"an answer within {START_SECONDS} s",
                mend=f"raise `memory_mb` (it is {self.memory_mb}), or install it again",
            ) from died
        if "missing" in hello:
            self.close()
            raise EnvironmentFault(self.name, f"package {hello['missing']} is not installed", mend=f"pip install '{self.install}'")

    def _send(self, data: bytes, end: float) -> None:
        assert self.child and self.child.stdin
        view, pipe = memoryview(data), self.child.stdin.fileno()
        while view:
            try:
                view = view[os.write(pipe, view[:PIPE]) :]
            except BrokenPipeError as error:
                raise self._ended() from error
            except BlockingIOError:
                self._wait(pipe, select.POLLOUT, end)

    def _line(self, end: float) -> bytes:
        while (place := self.kept.find(b"\n")) < 0:
            self._fill(end)
        return self._cut(place + 1)

    def _take(self, size: int, end: float) -> bytes:
        while len(self.kept) < size:
            self._fill(end)
        return self._cut(size)

    def _cut(self, size: int) -> bytes:
        taken = bytes(self.kept[:size])
        del self.kept[:size]
        return taken

    def _fill(self, end: float) -> None:
        assert self.child and self.child.stdout
        pipe = self.child.stdout.fileno()
        self._wait(pipe, select.POLLIN, end)
        got = os.read(pipe, PIPE)
        if not got:
            raise self._ended()
        self.kept += got

    def _wait(self, pipe: int, event: int, end: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise Died("timeout")

    def _ended(self) -> Died:
        """What a child that closed its pipes died of; SIGPROF and SIGALRM are the timers that it sets itself."""
        assert self.child
        try:
            code = self.child.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        return Died("timeout" if code in (-signal.SIGPROF, -signal.SIGALRM) else "crashed")


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
    except (AttributeError, OSError):  # not Linux, or over the user's limit: more pieces then
        return


Made = TypeVar("Made", bound=Child)
_OPEN: dict[tuple[int, Hashable], Child] = {}  # by the parent's own process id: a forked parent must not use its parent's pipes


def opened(key: Hashable, make: Callable[[], Made]) -> Made:
    """The child of this process under `key`; `make` makes it when there is none."""
    place = (os.getpid(), key)
    if place not in _OPEN:
        _OPEN[place] = make()
    return cast("Made", _OPEN[place])


@atexit.register
def close_all() -> None:
    """End the children of this process; they also end by themselves when its pipes close."""
    for (owner, _), child in _OPEN.items():
        if owner == os.getpid():
            child.close()
    _OPEN.clear()
