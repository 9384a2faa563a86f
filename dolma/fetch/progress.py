"""The live line of downloads: files, bytes, rate and time to go."""

import time
from typing import TextIO

from dolma.console import size
from dolma.core.log import Progress, logger
from dolma.fetch.http import Download


class Transfers(Progress):
    """Counts files of which several are on their way; the rate is of the bytes that came in this run."""

    def __init__(self, what: str, total: int, done: int, stream: TextIO | None = None) -> None:
        super().__init__(what, total, stream)
        self.done = self.before = done
        self.running: dict[str, Download] = {}  # by name, those that ended included

    def finished(self) -> None:
        """One more file is there."""
        self.done += 1
        self.draw()

    def draw(self) -> None:
        """Say the line: at once on a terminal, otherwise every 30 seconds."""
        if self.live:
            self.stream.write(f"\r\x1b[K{self.line()}")
            self.stream.flush()
        elif time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            logger("progress").info(self.line())

    def line(self) -> str:
        """`CC-MAIN-2024-51 warc 3/8  2.41 GB  14.2 MB/s  eta 3:05`; a dash while nothing is known."""
        begun = list(self.running.values())
        seconds = max(time.monotonic() - self.start, 1e-3)
        received = sum(one.received for one in begun)
        known = [one.length for one in begun if one.length]
        head = f"{self.what} {self.done}/{self.total}  {size(received)}  {received / 1e6 / seconds:.1f} MB/s  eta "
        if not known or not received:
            return head + "-"
        waiting = self.total - self.before - len(begun)
        left = sum(one.length - one.at for one in begun if one.length) + waiting * sum(known) / len(known)
        eta = int(left * seconds / received)
        return head + (f"{eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}" if eta >= 3600 else f"{eta // 60}:{eta % 60:02d}")
