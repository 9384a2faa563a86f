"""What a page's address says about it: hits in lists that the recipe gives, by class of rule; nothing decided."""

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step

COLUMNS = ("url_domains", "url_strict", "url_hard", "url_soft")
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]*)")


@step(needs=("url",), adds=dict.fromkeys(COLUMNS, pa.int32()), version=1)
def tag_url(
    batch: pa.RecordBatch,
    *,
    domains: tuple[str, ...] = (),
    strict_words: tuple[str, ...] = (),
    hard_words: tuple[str, ...] = (),
    soft_words: tuple[str, ...] = (),
) -> pa.RecordBatch:
    """Count what an address has in common with four lists, in any case; NULL where there is no address.

    Args:
        domains: `url_domains` is 1 where the host (without `www.`) is one of these or a subdomain of one.
        strict_words: `url_strict` counts those that occur anywhere in the address after `-` and `.` are taken out.
        hard_words, soft_words: `url_hard` and `url_soft` count those that occur as whole words, between characters that are no letters or digits.
    Source: RefinedWeb, arXiv:2306.01116 G.1, in the classes of the Olmo 3 all-dressed configuration.
    """
    count = _counter(domains, strict_words, hard_words, soft_words)
    rows = [count(url) if url is not None else (None,) * 4 for url in batch.column("url").to_pylist()]
    made = list(zip(*rows, strict=True)) if rows else [()] * 4
    return append(batch, {name: pa.array(values, pa.int32()) for name, values in zip(COLUMNS, made, strict=True)})


def host(url: str) -> str:
    """The host of an address in lower case, without `www.`, user or port; "" where there is none."""
    found = _HOST.match(url.strip().lower())
    return found.group(1).rstrip(".").removeprefix("www.") if found else ""


@lru_cache(4)
def _counter(domains: tuple[str, ...], strict: tuple[str, ...], hard: tuple[str, ...], soft: tuple[str, ...]) -> Callable[[str], tuple[int, int, int, int]]:
    listed = frozenset(domain.lower().removeprefix("www.") for domain in domains)
    subwords = tuple(word.lower() for word in strict)
    whole_hard, whole_soft = (frozenset(word.lower() for word in words) for words in (hard, soft))

    def count(url: str) -> tuple[int, int, int, int]:
        plain = unquote(url).lower()
        labels = host(url).split(".")
        squeezed = plain.replace("-", "").replace(".", "")
        parts = set(re.findall(r"[^\W_]+", plain))
        return (
            int(any(".".join(labels[k:]) in listed for k in range(len(labels)))),
            sum(word in squeezed for word in subwords),
            len(parts & whole_hard),
            len(parts & whole_soft),
        )

    return count
