"""The balancing ledger: documents in = documents out + dropped by reason + quarantined, for every step, unit and dataset.

Keys are flat and additive: `3:keep.in`, `3:keep.dropped.not_english`, `0:extract_html.quarantined`, `read.out`, `write.in`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from dolma.core.errors import DataError


def merge(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of flat counts, keys sorted."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def steps(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts by step: {"3:keep": {"in": 10, "out": 8, "dropped.short": 2}}, in the order of the recipe."""
    found: dict[str, dict[str, int]] = {}
    for key, value in counts.items():
        name, _, what = key.partition(".")
        found.setdefault(name, {})[what] = value
    return dict(sorted(found.items(), key=lambda item: _position(item[0])))


def check(counts: Mapping[str, int], where: str, whole: bool = False) -> None:
    """Refuse a ledger that does not balance, or whose steps do not hand over all rows.

    Args:
        whole: the counts are those of a whole dataset: both halves of a shuffle are in them.
    Raises:
        DataError: with the step, its numbers and the difference.
    """
    handed: tuple[str, int] | None = None
    for name, numbers in steps(counts).items():
        if "rows_in" in numbers:
            _check_last(name, numbers, handed[1] if handed else numbers["rows_in"], where, whole)
        if "in" not in numbers or "out" not in numbers:
            continue
        lost = sum(v for k, v in numbers.items() if k.startswith("dropped.") or k == "quarantined")
        if numbers["in"] != numbers["out"] + lost:
            raise DataError(
                f"{where}: step {name}",
                "the ledger does not balance",
                got=f"{numbers['out']:,} out + {lost:,} dropped or quarantined",
                expected=f"{numbers['in']:,} in",
                mend="the step changed rows without a reason; nothing was committed",
            )
        if handed and numbers["in"] != handed[1]:
            raise DataError(
                f"{where}: step {name}",
                f"rows were lost after {handed[0]}",
                got=f"{numbers['in']:,} in",
                expected=f"{handed[1]:,}",
                mend="nothing was committed; delete the dataset's folder and run again",
            )
        handed = name, numbers["out"]


def _check_last(name: str, numbers: Mapping[str, int], given: int, where: str, whole: bool) -> None:
    """A group or reduce step takes all rows, a shuffle brings all that it took, and packing accounts for every token."""
    pairs = [("rows did not reach the step", numbers["rows_in"], given)]
    if whole and "scattered" in numbers:
        pairs.append(("rows were lost in the shuffle", numbers.get("gathered", 0), numbers["scattered"]))
    if "tokens_in" in numbers:
        out = sum(numbers[key] for key in ("tokens_out", "dropped.tail_tokens", "dropped.cut_tokens"))
        pairs.append(("tokens were lost in packing", out, numbers["tokens_in"] + numbers["eos"]))
    for what, got, expected in pairs:
        if got != expected:
            mend = "nothing was committed; delete the dataset's folder and run again"
            raise DataError(f"{where}: step {name}", what, got=f"{got:,}", expected=f"{expected:,}", mend=mend)


def dropped(counts: Mapping[str, int]) -> dict[str, int]:
    """Rows dropped by reason over all steps, in the order of the recipe; quarantined rows under `quarantined`."""
    found: dict[str, int] = {}
    for numbers in steps(counts).values():
        for what, value in numbers.items() if "in" in numbers else ():  # a group step counts tokens, not documents
            if value and (what == "quarantined" or what.startswith("dropped.")):
                reason = what.removeprefix("dropped.")
                found[reason] = found.get(reason, 0) + value
    return found


def chunked(counts: Mapping[str, int]) -> list[tuple[int, int]]:
    """(groups, rows) of each step that got groups which were too large to be given whole."""
    return [(numbers["split_groups"], numbers["split_rows"]) for numbers in steps(counts).values() if numbers.get("split_groups")]


def _position(name: str) -> tuple[int, str]:
    head = name.partition(":")[0]
    return (int(head), name) if head.isdigit() else (-1, name)
