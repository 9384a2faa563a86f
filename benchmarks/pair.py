"""What a row of the performance table declares. Standard library only: peers' environments import it too."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Side = Callable[[Path, Path], None] | tuple[str, ...]
"""One side of a pair, run as a process of its own: a module-level function of (inputs, out), or a command in which `{inputs}`, `{out}` and `{python}`
are replaced. `out` is an empty folder."""


@dataclass(frozen=True)
class Peer:
    """Who ours is compared with, and the environment that it runs in."""

    name: str
    packages: tuple[str, ...] = ()  # requirements of an environment of its own; none: it runs in the project's
    absent: tuple[str, ...] = ()  # modules that must not be importable there, where their mere presence costs time
    distribution: str = ""  # whose version the row names, where the package is not called like the peer
    version: str = ""  # written as it stands, for a peer that is no Python package


@dataclass(frozen=True)
class Pair:
    """One row: two ways to do one thing.

    With `prepare`, both sides run first on its smallest input (size 0: one text): once uncounted, so that compiled code and files are warm, then as
    often as on the whole input. That is the start-up named in the row's note.
    """

    name: str
    peer: Peer
    ours: Side
    theirs: Side
    note: str  # what each side does, and what differs between them
    prepare: Callable[[Path, int], str] | None = None  # writes the input of (folder, bytes of text) and describes it; runs in the project's environment
    size: int = 0
    agree: Callable[[Path, Path, Path], str] | None = None  # of (inputs, our out, their out): how far the results agree
    runs: int = 3  # of each side, interleaved
    memory: bool = False  # the note also names the peak of each side
    inside: bool = False  # each side writes the CPU seconds of the work alone to `seconds` in its out, where start-up would drown it; the row is in ms
