"""Sorted rows cut into batches of whole groups, or pieces of one that is too large; the same however the rows arrive."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pyarrow as pa

from dolma import table
from dolma.core.errors import DataError
from dolma.core.step import MEND

CHUNK_ROWS, CHUNK_BYTES = 65_536, 128 << 20  # a step gets whole groups, or a piece of one, in batches of at most this size, whichever comes first


def whole_groups(
    batches: Iterable[pa.RecordBatch], key: tuple[str, ...], cap: int, splittable: bool, where: str, *, cap_bytes: int | None = None, mend: str = MEND
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, bool]]:
    """Cut sorted rows into batches of whole groups: (batch, first row of each group, whether row 0 repeats a group's first row).

    A group of a splittable step comes in pieces that each begin with its first row: a piece ends with `cap` rows, or with the row by which its strings and
    lists have `CHUNK_BYTES`, but never as one row alone: a step may compare the others to the first. Whole groups come together while they stay within
    `CHUNK_ROWS` and `CHUNK_BYTES`. So a batch has at most `CHUNK_BYTES` and three rows, or one group that cannot be split, and all borders are the same
    however the rows were cut into `batches`. No row is copied more than twice.

    Args:
        cap_bytes: of the strings and lists of one group, where the step cannot take it in pieces.
        mend: what to do about a group that is too large.
    Raises:
        DataError: a group exceeds `cap` or `cap_bytes` and the step cannot take it in pieces; said as soon as it does.
    """
    held: list[pa.RecordBatch] = []
    first: pa.RecordBatch | None = None
    borders, begin = _Borders(key, cap, splittable, cap_bytes, where, mend), 0
    for batch in chain((batch for batch in batches if batch.num_rows), [None]):
        held += [] if batch is None else [batch]
        for end, more in borders.finish() if batch is None else borders.after(batch):
            rows, held = _split(held, end - begin)
            begin, joined = end, join(rows)
            yield _chunk(first, joined, key)
            first = (first if first is not None else joined.slice(0, 1)) if more else None


class _Borders:
    """Where the chunks of `whole_groups` end, from rows that come in batches: row numbers, and whether the group goes on after the border."""

    def __init__(self, key: tuple[str, ...], cap: int, splittable: bool, cap_bytes: int | None, where: str, mend: str) -> None:
        self.key, self.cap, self.splittable, self.where, self.mend = key, cap, splittable, where, mend
        self.most = CHUNK_BYTES if splittable else cap_bytes
        self.tail: pa.RecordBatch | None = None  # the last row
        self.grown = 0, 0  # rows and bytes of the last piece so far; the next three are rows and bytes before a place
        self.begin = self.last = self.total = 0, 0  # where the open chunk begins, the last border in it, the end

    def after(self, batch: pa.RecordBatch) -> list[tuple[int, bool]]:
        """The borders that are known once `batch` is."""
        ends = np.concatenate([[0], np.cumsum(table.long_bytes(batch))])
        starts = _starts(batch, self.key)
        same = self.tail is not None and _same(self.tail, batch, self.key)
        rows, size = np.diff(np.append(starts, batch.num_rows)), np.diff(np.append(ends[starts], ends[-1]))
        if same:
            rows[0], size[0] = rows[0] + self.grown[0], size[0] + self.grown[1]
        cuts = self._cuts(starts, rows, size, ends)
        own = bool(cuts) and cuts[-1] >= starts[-1]  # the last piece began in this batch, inside a group
        self.grown = (batch.num_rows - cuts[-1], int(ends[-1] - ends[cuts[-1]])) if own else (int(rows[-1]), int(size[-1]))
        places = np.concatenate([starts[int(same or self.tail is None) :], cuts]).astype(np.int64)
        order = np.argsort(places, kind="stable")
        found = self._pack(self.total[0] + places[order], self.total[1] + ends[places[order]], order >= len(places) - len(cuts))
        self.total, self.tail = (self.total[0] + batch.num_rows, self.total[1] + int(ends[-1])), batch.slice(batch.num_rows - 1)
        return found

    def finish(self) -> list[tuple[int, bool]]:
        """The borders that are left when there are no more rows."""
        if self.tail is None:
            return []
        found = self._pack(*(np.array([value]) for value in (*self.total, False)))
        return found + ([(self.last[0], False)] if self.last > self.begin else [])

    def _cuts(self, starts: np.ndarray, rows: np.ndarray, size: np.ndarray, ends: np.ndarray) -> list[int]:
        """Rows of a batch at which a group goes on in another piece.

        Args:
            rows, size: of each group in the batch; of the first one with what is open of it.
            ends: bytes before each row.
        """
        large = rows > self.cap
        if self.most is not None:
            large |= size >= self.most if self.splittable else size > self.most
        cuts: list[int] = []
        for group in np.flatnonzero(large):
            if not self.splittable:
                self._refuse(int(rows[group]))
            at, end = int(starts[group]), int(starts[group + 1]) if group + 1 < len(starts) else len(ends) - 1
            had, bytes_had = int(rows[group]) - (end - at), int(size[group] - (ends[end] - ends[at]))
            while True:
                full = int(np.searchsorted(ends, ends[at] + CHUNK_BYTES - bytes_had))  # the first row before which the piece has its bytes
                at = min(at + self.cap - had, max(full, at, at + 2 - had))
                if at >= end:
                    break
                cuts.append(at)
                had = bytes_had = 0
        return cuts

    def _refuse(self, rows: int) -> None:
        most, unit = (self.cap, "rows") if rows > self.cap or self.most is None else (self.most, "bytes")
        what = f"one group has more {unit} than this step can take"
        raise DataError(self.where, what, got=f"over {most:,}", expected=f"at most {most:,} {unit}", mend=self.mend)

    def _pack(self, rows: np.ndarray, size: np.ndarray, cut: np.ndarray) -> list[tuple[int, bool]]:
        """Chunks of pieces: a piece after which its group goes on, or that is too large, is a chunk of its own.

        Args:
            rows, size: before each border between pieces.
            cut: whether the group goes on after it.
        """
        found: list[tuple[int, bool]] = []
        hard, at = np.append(np.flatnonzero(cut), len(rows)), 0
        while at < len(rows):
            until = at if cut[at] else int(hard[np.searchsorted(hard, at)])
            by_rows = np.searchsorted(rows[at:until], self.begin[0] + CHUNK_ROWS, "right")
            fit = int(min(by_rows, np.searchsorted(size[at:until], self.begin[1] + CHUNK_BYTES, "right")))
            if fit:
                at += fit
                self.last = int(rows[at - 1]), int(size[at - 1])
            elif self.last > self.begin:
                found.append((self.last[0], False))
                self.begin = self.last
            else:
                found.append((int(rows[at]), bool(cut[at])))
                self.begin = self.last = int(rows[at]), int(size[at])
                at += 1
        return found


def _split(batches: list[pa.RecordBatch], rows: int) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """The first `rows` rows, and the rest."""
    for n, batch in enumerate(batches):
        if rows < batch.num_rows:
            return [*batches[:n], *([batch.slice(0, rows)] if rows else [])], [batch.slice(rows), *batches[n + 1 :]]
        rows -= batch.num_rows
    return batches, []


class Chunked:
    """Counts the groups that came in chunks, and their rows."""

    def __init__(self) -> None:
        self.groups = self.rows = 0
        self._last, self._counted = 0, False  # rows of the last group of the chunk before, and whether they are counted

    def see(self, rows: int, starts: np.ndarray, cont: bool) -> None:
        """A chunk of `rows` rows as `whole_groups` gave it."""
        if cont:
            self.groups += not self._counted
            self.rows += (0 if self._counted else self._last) + (int(starts[1]) if len(starts) > 1 else rows) - 1
        self._last, self._counted = rows - int(starts[-1]), cont and len(starts) == 1


def _chunk(first: pa.RecordBatch | None, batch: pa.RecordBatch, key: tuple[str, ...]) -> tuple[pa.RecordBatch, np.ndarray, bool]:
    if first is None:
        return batch, _starts(batch, key), False
    return join([first, batch]), np.concatenate([[0], _starts(batch, key)[1:] + 1]).astype(np.int64), True


def join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all rows."""
    batches = [batch for batch in batches if batch.num_rows] or batches[:1]
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _starts(batch: pa.RecordBatch, key: tuple[str, ...]) -> np.ndarray:
    new = np.zeros(batch.num_rows, bool)
    new[0] = True
    for name in key:
        column = batch.column(name).to_numpy()
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def _same(one: pa.RecordBatch, other: pa.RecordBatch, key: tuple[str, ...]) -> bool:
    return all(one.column(name)[0] == other.column(name)[0] for name in key)
