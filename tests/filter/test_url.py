"""Address rules, list by list, and the lists: in the recipe, in files, in the installed DataTrove."""

import importlib.util
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError, EnvironmentFault
from dolma.core.files import PinnedFile
from dolma.core.recipe import Recipe, compile
from dolma.core.step import REGISTRY
from dolma.filter import lists
from dolma.filter.lists import Hashed, Package
from dolma.filter.url import COLUMNS, host, tag_url

LISTS: dict[str, Any] = {
    "domains": ("bad.com", "www.worse.org"),
    "strict_words": ("free-pills",),
    "hard_words": ("casino", "live chat"),
    "soft_words": ("poker", "bet", "crack", "\u043a\u043e\u0442"),
}
RECIPE = Path(__file__).parents[2] / "pipelines" / "source" / "web" / "filter.yaml"


def measured(*urls: str | None, **settings: Any) -> list[dict[str, int | None]]:
    made = tag_url(pa.RecordBatch.from_arrays([pa.array(urls, pa.string())], ["url"]), **settings)
    return made.select(list(COLUMNS)).to_pylist()


def hits(url: str | None, **settings: Any) -> dict[str, int | None]:
    """The columns that are not 0, without `url_`."""
    return {name.removeprefix("url_"): value for name, value in measured(url, **settings)[0].items() if value != 0}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://good.com/page", {}), ("https://bad.com/page", {"domains": 1}), ("http://WWW.Bad.com:80/", {"domains": 1}),
        ("https://shop.bad.com/", {"domains": 1}), ("https://notbad.com/", {}), ("https://worse.org", {"domains": 1}),
        ("https://user:x@bad.com/", {"domains": 1}), ("https://good.com/?u=http://bad.com/", {}),
        ("https://x.com/free-pills", {"strict": 1}), ("https://f.ree-pil.ls/", {"strict": 1}), ("https://x.com/FreePills2", {"strict": 1}),
        ("https://x.com/free_pills", {}),
        ("https://x.com/the-casino/", {"hard": 1}), ("https://x.com/casinos/", {}), ("https://x.com/c%61sino", {"hard": 1}),
        ("https://x.com/live_chat", {"hard": 1}), ("https://x.com/live-long-chat", {}), ("https://x.com/alive-chat", {}),
        ("https://x.com/poker_bet?q=poker", {"soft": 2}), ("https://x.com/%D0%BA%D0%BE%D1%82", {"soft": 1}), ("https://x.com/bets", {}),
        ("", {}), ("not an address", {}),
    ],
)  # fmt: skip
def test_hits_of_golden_addresses(url: str | None, expected: dict[str, int]) -> None:
    assert hits(url, **LISTS) == expected


def listed(folder: Path, kind: str, *entries: str) -> dict[Any, PinnedFile]:
    path = folder / f"{kind}.txt"
    path.write_text("\n".join(entries))
    return {kind: PinnedFile(file=str(path), sha256=sha256(path.read_bytes()).hexdigest())}


@pytest.mark.parametrize(
    ("kind", "entries", "inside", "outside"),
    [
        ("listed_domains", ["# hosts", "Bad.com", "", "ads.ok.org"], ["http://bad.com", "https://a.b.bad.com/x"], ["http://ok.org", "http://com"]),
        ("listed", ["x.com/Page", "http://y.com/"], ["https://www.x.com/Page", "http://x.com/Page", "http://y.com/"], ["http://x.com/page", "http://y.com"]),
        ("banned", ["big-word"], ["http://x.com/BigWord", "http://x.com/a_bigword_b"], ["http://x.com/bigwords", "http://x.com/big-word"]),
        ("soft_banned", ["naked"], ["http://x.com/Naked-truth"], ["http://x.com/snaked"]),
        ("subwords", ["live sex"], ["http://x.com/oliveSext", "http://live-s.ex/"], ["http://x.com/live"]),
        ("domains", ["bad.com"], ["http://a.bad.com"], ["http://abad.com"]),
        ("strict", ["freepills"], ["http://x.com/free-pills"], ["http://x.com/free_pills"]),
        ("hard", ["casino"], ["http://x.com/casino"], ["http://x.com/casinos"]),
        ("soft", ["bet"], ["http://x.com/bet"], ["http://x.com/abet"]),
    ],
)  # fmt: skip
def test_a_list_file_of_every_kind(tmp_path: Path, kind: str, entries: list[str], inside: list[str], outside: list[str]) -> None:
    files = listed(tmp_path, kind, *entries)
    assert [hits(url, files=files) for url in inside] == [{kind: 1}] * len(inside)
    assert [hits(url, files=files) for url in outside] == [{}] * len(outside)


@pytest.mark.parametrize("kind", ["hard", "domains"])
def test_a_byte_order_mark_is_no_part_of_the_first_entry_and_a_later_number_sign_is_of_its_own(tmp_path: Path, kind: str) -> None:
    files = listed(tmp_path, kind, "\ufeffcasino.org" if kind == "domains" else "\ufeffcasino", "other")
    assert hits("http://casino.org/casino", files=files) == {kind: 1}
    assert lists.entries(b"# of addresses\nx.com/#bar\nbar # c\n") == ["x.com/#bar", "bar # c"]


def test_entries_of_the_recipe_come_in_addition_to_a_file(tmp_path: Path) -> None:
    files = listed(tmp_path, "hard", "casino")
    assert hits("http://x.com/casino-poker", files=files, hard_words=("poker",)) == {"hard": 2}


def test_a_changed_or_missing_list_stops_the_run(tmp_path: Path) -> None:
    files = listed(tmp_path, "hard", "casino")
    Path(files["hard"].path).write_text("another")
    with pytest.raises(DataError, match=r"not the one that the recipe names[\s\S]*mend: write the new sha256"):
        measured("http://x.com", files=files)
    Path(files["hard"].path).unlink()
    with pytest.raises(EnvironmentFault, match=r"hard\.txt: cannot be read"):
        measured("http://x.com", files=files)


def test_a_misspelt_list_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    from dolma.core.config import check

    good = listed(tmp_path, "hard", "casino")["hard"].model_dump()
    bad = {"hart": good}, {"hard": {"file": good["file"]}}, {"hard": {**good, "sha256": "y"}}, {"hard": {**good, "file": "lists/hard.txt"}}
    for value in ({"package": {"name": "other", "sha256": ""}}, *({"files": one} for one in bad)):
        with pytest.raises(ConfigError):
            check(value, REGISTRY["tag_url"].params, "filter.yaml")


def test_a_list_file_is_checked_when_the_recipe_is_compiled(tmp_path: Path) -> None:
    step = {"files": {kind: file.model_dump() for kind, file in listed(tmp_path, "hard", "casino").items()}}
    recipe = Recipe.model_validate({"input": "x", "table": "rows", "steps": [{"tag_url": step}]})
    schema = pa.schema([("url", pa.string())])
    compiled = compile("x", recipe, "x.yaml", lambda _: schema)
    assert compiled.steps[0].params.files["hard"].path == str(tmp_path / "hard.txt")
    (tmp_path / "hard.txt").write_text("another")
    with pytest.raises(DataError, match="this is another file"):
        compile("x", recipe, "x.yaml", lambda _: schema)
    (tmp_path / "hard.txt").unlink()
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        compile("x", recipe, "x.yaml", lambda _: schema)


def pinned() -> Package:
    """The package that the recipe names."""
    step = next(one["tag_url"] for one in yaml.safe_load(RECIPE.read_text())["steps"] if "tag_url" in one)
    return Package(**step["package"])


def test_the_lists_of_the_package_are_those_of_the_recipe() -> None:
    """The files of DataTrove 0.9: as many line feeds as Olmo 3's configuration counts entries (spec/01 section 3, rows 7 to 10)."""
    pytest.importorskip("datatrove")
    found = lists.bundled(pinned().sha256)
    assert {kind: found[kind].count(b"\n") for kind in ("listed", "banned", "soft_banned", "subwords")} == {
        "listed": 19_586, "banned": 215, "soft_banned": 88, "subwords": 134
    }  # fmt: skip
    domains = found["listed_domains"].decode().splitlines()
    assert len(domains) > 4_000_000
    first, subword, soft = domains[0], lists.entries(found["subwords"])[0], lists.entries(found["soft_banned"])[:2]
    urls = (f"http://www.{first}/x", f"http://a.org/{subword.replace(' ', '-')}/", f"http://a.org/{soft[0]}/{soft[1]}", "http://a.org/")
    made = measured(*urls, package=pinned())
    assert [made[0]["url_listed_domains"], made[1]["url_subwords"], made[2]["url_soft_banned"]] == [1, 1, 2]
    assert set(made[3].values()) == {0}


def test_without_the_package_the_mend_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"DataTrove is not installed\n  mend: pip install"):
        lists.bundled("x")


def test_an_absent_address_is_null_and_its_neighbours_are_not() -> None:
    made = measured(None, "http://bad.com", None, **LISTS)
    assert [row["url_domains"] for row in made] == [None, 1, None] and set(made[0].values()) == {None}
    assert measured(**LISTS) == []


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=6)), st.text(max_size=6))
def test_a_hashed_set_is_a_set(texts: list[str], other: str) -> None:
    texts = [text for text in texts if not text.startswith("#") and text.strip() == text and len(text.splitlines()) == 1]
    made = Hashed("\r\n".join(texts).encode())
    assert made.hold([*texts, other]).tolist() == [*(True for _ in texts), other in texts]


def test_host_of_odd_addresses() -> None:
    assert [host(url) for url in ("http://Example.COM./x", "//no.scheme", "http://", "ftp://a.b#c")] == ["example.com", "", "", "a.b"]
