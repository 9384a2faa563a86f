"""Log lines to stderr, one a shard, and a live line on a terminal."""

import json
import logging
import sys
import time
from typing import TextIO


def logger(name: str) -> logging.Logger:
    """The logger of a module, below `dolma`."""
    return logging.getLogger(name if name.startswith("dolma") else f"dolma.{name}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": round(record.created, 3), "level": record.levelname.lower(), "name": record.name, "message": record.getMessage()})


def setup(style: str = "text", level: int = logging.INFO) -> None:
    """Send the package's log lines to stderr, as text or as JSON lines; called by the command line only."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(_Json() if style == "json" else logging.Formatter("%(message)s"))
    root = logging.getLogger("dolma")
    root.handlers[:] = [out]
    root.setLevel(level)
    root.propagate = False


class Progress:
    """Counts finished units of one pass and says rate and time to go: a live line on a terminal, otherwise a line every 30 seconds."""

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self.what, self.total, self.done, self.rows, self.bytes = what, total, 0, 0, 0
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.start = self.said = time.monotonic()

    def advance(self, rows: int, size: int) -> None:
        """One more unit is finished, with this many rows and bytes read."""
        self.done, self.rows, self.bytes = self.done + 1, self.rows + rows, self.bytes + size
        if self.live:
            self.stream.write(f"\r\x1b[K{self.line()}")
            self.stream.flush()
        elif time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            logger("progress").info(self.line())

    def line(self) -> str:
        """`source/web/filter 17/80  5,312 rows  14.2 MB/s  eta 0:41`."""
        seconds = max(time.monotonic() - self.start, 1e-3)
        left = seconds / max(self.done, 1) * (self.total - self.done)
        return f"{self.what} {self.done}/{self.total}  {self.rows:,} rows  {self.bytes / 1e6 / seconds:.1f} MB/s  eta {int(left) // 60}:{int(left) % 60:02d}"

    def close(self) -> None:
        """Wipe the live line."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
