"""A later delivery gives the survivors of deduplicating all at once, computes nothing of the corpus again, and names what matched."""

import random
from pathlib import Path

import pytest

from dolma import near
from dolma.core import manifest
from dolma.core.errors import DataError, DolmaError
from dolma.runner import Run
from tests.flow import increment
from tests.flow.mini import manifests, take_over, write_env

MADE = ("increment/candidates", "increment/bands", "increment/shared", "increment/matches", "increment/verified", "increment/fresh")


def page(seed: int, words: int = 120) -> list[str]:
    """Words of a page that shares no shingle with another's."""
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(words)]


def edited(words: list[str], at: int) -> str:
    return " ".join([*words[:at], "edited", *words[at + 1 :]])  # Jaccard 111 / 121 = .92


OLD = {f"old{n}": " ".join(page(n)) for n in range(24)} | {"old-near-0": edited(page(0), 60), "old-symbols": "— … — … — … —"}
NEW = (
    {f"copy{n}": " ".join(page(n)) for n in range(0, 6)}
    | {f"near{n}": edited(page(n), 7 * (n - 5)) for n in range(6, 12)}
    | {f"like{n}": " ".join(page(n)[:60] + page(100 + n)[:60]) for n in range(12, 16)}  # half of a page: Jaccard .3
    | {f"fresh{n}": " ".join(page(200 + n)) for n in range(8)}
    | {"fresh-copy": " ".join(page(200)), "old20": " ".join(page(300)), "new-symbols": "— … — … — … —", "other-symbols": "— —"}
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus indexed, and then a delivery: raw/old, raw/new, root one/."""
    folder = tmp_path_factory.mktemp("increment")
    increment.write_recipes(folder, "both")
    increment.write_files(folder / "raw/old", OLD, 3)
    Run(write_env(folder, "one"), folder / "pipelines").run(["pool/bands"])
    (folder / "before.json").write_bytes((folder / "one/pool/bands/manifest.json").read_bytes())
    increment.write_files(folder / "raw/new", NEW, 4)
    assert Run(write_env(folder, "one"), folder / "pipelines").run(["increment/fresh"]) == len(MADE)
    return folder


def test_what_matched_is_named_by_its_id_with_the_true_jaccard(place: Path) -> None:
    of = {row["key"]: row["id"] for row in manifest.read(place / "one/increment/candidates").to_pylist()}
    rows = {of[row["key"]]: row for row in manifest.read(place / "one/increment/verified").to_pylist()}
    assert {name: rows[name]["match_id"] for name in rows if name.startswith(("copy", "near"))} == {
        **{f"copy{n}": f"old{n}" for n in range(6)},
        **{f"near{n}": f"old{n}" for n in range(6, 12)},
    }
    assert all(rows[f"copy{n}"]["same_text"] and rows[f"copy{n}"]["jaccard"] == 1 and rows[f"copy{n}"]["bands"] == 26 for n in range(1, 6))
    assert all(not rows[f"near{n}"]["same_text"] and abs(rows[f"near{n}"]["jaccard"] - 115 / 121) < 1e-6 for n in range(6, 12))
    same = rows["old20"]
    assert (same["match_id"], same["same_id"], same["same_text"], same["bands"]) == ("old20", True, False, 0) and same["jaccard"] < 0.1
    symbols = rows["new-symbols"]
    assert (symbols["match_id"], symbols["same_text"], symbols["jaccard"]) == ("old-symbols", True, None)
    assert "other-symbols" not in rows and not [name for name in rows if name.startswith("fresh")]


def test_the_corpus_is_not_computed_again(place: Path) -> None:
    assert (place / "one/pool/bands/manifest.json").read_bytes() == (place / "before.json").read_bytes()
    assert Run(place / "one.yaml", place / "pipelines").run(["increment/fresh"]) == 0


def test_the_ledger_says_why_documents_of_the_delivery_are_gone(place: Path) -> None:
    counts = manifest.load(place / "one/increment/fresh").counts
    assert counts["0:keep.dropped.same_id"] == 1 and counts["1:keep.dropped.in_the_corpus"] == 6 + 6 + 1
    assert counts["1:keep.out"] == len(NEW) - 14


def test_the_survivors_are_those_of_deduplicating_both_at_once(place: Path) -> None:
    """But for which copy is kept: at once the smallest key, here the older. `old20` comes twice, which a pool at once refuses."""
    increment.write_files(place / "more/old", {k: v for k, v in OLD.items() if k != "old20"}, 3)
    increment.write_files(place / "more/new", NEW, 4)
    Run(write_env(place, "both", raw=str(place / "more")), place / "pipelines").run(["both/exact", "both/clusters"])
    root = place / "both/both"
    rows = manifest.read(root / "candidates").to_pylist()
    name = {row["key"]: row["id"] for row in rows}
    groups: dict[int, set[str]] = {}
    for row in manifest.read(root / "clusters").to_pylist():
        groups.setdefault(row["cluster"], set()).add(name[row["key"]])
    for row in manifest.read(root / "exact").to_pylist():
        groups.setdefault(row["exact_of"], {name[row["exact_of"]]}).add(name[row["key"]])
    with_old = {one for group in groups.values() if group & set(OLD) - {"old20"} for one in group}
    fresh = manifest.read(place / "one/increment/fresh").column("id").to_pylist()
    assert sorted(fresh) == sorted(set(NEW) - with_old - {"old20"})


@pytest.mark.parametrize(("workers", "tasks"), [(1, 1), (1, 2), (2, 7)])
def test_the_same_bytes_with_any_number_of_tasks(place: Path, workers: int, tasks: int) -> None:
    name = f"tasks{tasks}"
    Run(write_env(place, name, workers=workers, tasks=tasks), place / "pipelines").run(["increment/fresh"])
    every = ("pool/candidates", "pool/bands", *MADE)
    assert manifests(place, name, every) == manifests(place, "one", every)


@pytest.mark.spark
@pytest.mark.slow
def test_the_same_bytes_on_spark(place: Path, spark: object) -> None:
    take_over(place, "spark", ("pool/candidates", "pool/bands", "increment/candidates", "increment/bands"))
    made = ("increment/shared", "increment/matches", "increment/verified")
    assert Run(write_env(place, "spark", engine="spark", tasks=3), place / "pipelines").run(["increment/verified"]) == len(made)
    assert manifests(place, "spark", made) == manifests(place, "one", made)


def test_a_text_is_looked_up_in_the_index_of_the_corpus(place: Path) -> None:
    root = place / "one"
    index = near.bands_of(root, "pool/candidates", "pool/bands")
    assert len(index.found.files) == 3
    texts = [NEW["near7"], NEW["copy3"], NEW["fresh1"]]
    found = near.near(root, "pool/candidates", texts, index, threshold=0.5, top=5)
    assert [[(one.document["id"], round(one.jaccard, 4)) for one in ones] for ones in found] == [[("old7", round(111 / 121, 4))], [("old3", 1.0)], []]


def test_an_index_of_another_signature_is_refused(place: Path, tmp_path: Path) -> None:
    increment.write_recipes(tmp_path)
    path = tmp_path / "pipelines/increment/bands.yaml"
    path.write_text(path.read_text().replace("preset: olmo3", "preset: fineweb"))
    with pytest.raises(DataError, match=r"inputs disagree on `bands`"):
        Run(write_env(place, "other"), tmp_path / "pipelines").run(["increment/shared"])


def test_the_corpus_before_the_delivery_is_refused_by_name(place: Path, tmp_path: Path) -> None:
    increment.write_recipes(tmp_path)
    path = tmp_path / "pipelines/increment/verified.yaml"
    path.write_text(path.read_text().replace("[increment/candidates, pool/candidates]", "[pool/candidates, increment/candidates]"))
    with pytest.raises(DolmaError, match=r"(?s)verify_matches.*comes without.*the new documents.*first"):
        Run(write_env(place, "turned"), tmp_path / "pipelines").run(["increment/verified"])
