"""Mixes through the command line: what is refused before any work, what is served, `dolma mix`, and its pictures."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dolma import cli, mixes
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError
from tests.messages import parts
from tests.mix.flow import CELLS, LENGTH, PRETRAIN, write_flow

MATHS = {"tokens": 1600, "shares": {"web": 0.5, "code": 0.5}, "best": {"web": 16}}
POOL = sum(CELLS.values()) * LENGTH


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A pool and two mixes that were run; the tests write nothing but recipes of other names."""
    folder = tmp_path_factory.mktemp("mixes")
    options = write_flow(folder, pretrain=PRETRAIN, midtrain=MATHS)
    assert cli.main(["run", "mix", *options]) == 0
    return folder, options


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert cli.main([*arguments, "--format", "json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_all_that_a_recipe_says_wrong_is_said_at_once_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {"tokens": 0, "shares": {"web": 0.5, "code": 0.4}, "topics": {"art": -1.0}, "best": {"web": 21}, "max_repeats": float("nan"), "flors": {}}
    options = write_flow(tmp_path, wrong=wrong, twice={"tokens": 800, "shares": {"web": 1.0}, "repeats": {"web": 2.0}})
    for verb in ("plan", "run"):
        assert cli.main([verb, "mix", *options]) == 2
        err = capsys.readouterr().err
        for field in ("tokens", "shares", "topics", "best.web", "max_repeats", "flors"):
            assert re.search(rf"mix/wrong.yaml: step 0 plan_mix: .*`{field}", err), (field, err)
        assert "in the same proportions: web: 0.555556, code: 0.444444" in err and "mix/twice.yaml: step 0 plan_mix: both say how much is taken" in err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("changed", "where", "named"),
    [
        ({"shares": {"web": 0.5, "books": 0.5}}, "shares", "no stream of source books"),
        ({"topics": {"music": 1.0}}, "topics of web", "no stream of topic music"),
        ({"languages": {"web": {"fr": 1.0}}}, "languages of web", "no stream of language fr"),
        ({"buckets": {"web": {19: 1.0}}}, "buckets.web", "no tokens in vigintile 19"),
        ({"tokens": 60_000}, "source wiki", "tokens are missing"), ({"tokens": "60K"}, "source wiki", "tokens are missing"),
        ({"best": {"code": 4}}, "best.code", "source code has no vigintiles"), ({"tokens": 3}, "tokens", "the mix would have no sequence"),
        ({"shares": {"code": 1.0}, "topics": {"art": 1.0}}, "topics", "none has them: code"),
        ({"floors": {"web/art": 0.6, "web/law": 0.5, "web/en": 0.9}}, "floors of web", "topics of web are more than all of it: 0.1 is missing"),
        ({"upsampling": {"cap": 0.2}}, "web/art", "the target is over what the cap allows"),
    ],
)  # fmt: skip
def test_what_the_pool_cannot_give_is_refused_by_plan_and_by_run(
    flow: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], changed: dict[str, Any], where: str, named: str
) -> None:
    folder, options = flow
    write_flow(folder, odd={**PRETRAIN, **changed}, pretrain=PRETRAIN, midtrain=MATHS)
    capsys.readouterr()
    for verb in ("plan", "run"):
        assert cli.main([verb, "mix/odd", *options]) == 2
        err = capsys.readouterr().err
        assert parts(err, named)["mend"] and f"plan_mix: {where}: " in err
    assert not manifests.exists(folder / "root/mix/odd") and not list((folder / "root/mix/odd").glob("*.parquet"))


def test_a_mix_by_source_topic_language_vigintile_and_cell(flow: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    _, options = flow
    rows = {row["source"]: row for row in said(capsys, "mix", "mix/pretrain", *options)}
    assert {source: row["pool_tokens"] for source, row in rows.items()} == {"code": 2400, "web": 4320, "wiki": 80}
    assert [rows[source]["tokens"] for source in ("web", "code", "wiki")] == [1000, 800, 200]
    assert rows["wiki"]["repeats"] == 2.5 and rows["wiki"]["share"] == 0.1 and rows["wiki"]["pool_share"] == pytest.approx(80 / POOL)
    keys = {"topic": ("source", "topic"), "lang": ("source", "lang"), "vigintile": ("source", "vigintile"), "cell": mixes.BY["cell"]}
    for by, names in keys.items():
        found = said(capsys, "mix", "mix/pretrain", "--by", by, *options)
        assert len({tuple(row[name] for name in names) for row in found}) == len(found) and sum(row["tokens"] for row in found) == 2000
        assert sum(row["pool_tokens"] for row in found) == POOL
    assert len(found) == len(CELLS)
    assert cli.main(["mix", "mix/pretrain", *options]) == 0
    got = capsys.readouterr()
    assert got.err == "" and re.search(r"^web +4,320 +63\.53 +0\.2315 +1,000 +50$", got.out, re.MULTILINE) and "\nsum " in got.out


def test_the_difference_of_two_mixes(flow: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    _, options = flow
    assert cli.main(["mix", "mix/midtrain", "--against", "mix/pretrain", "--format", "csv", *options]) == 0
    rows = {row["source"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert [int(rows["code"][name]) for name in ("pool_tokens", "tokens", "against_tokens")] == [2400, 800, 800]
    assert float(rows["code"]["change"]) == pytest.approx(0.1) and float(rows["wiki"]["change"]) == pytest.approx(-0.1)
    back = said(capsys, "mix", "mix/pretrain", "--against", "mix/midtrain", *options)
    assert [row["change"] for row in back] == pytest.approx([-float(row["change"]) for row in rows.values()])


def test_what_if_plans_and_writes_nothing(flow: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, options = flow
    before = {path: path.stat().st_mtime_ns for path in (folder / "root").rglob("*")}
    rows = {row["source"]: row for row in said(capsys, "mix", "mix/pretrain", "--set", "shares.web=0.4", "--set", "tokens=4K", "--set", "floors={}", *options)}
    assert {source: (row["tokens"], row["against_tokens"]) for source, row in rows.items()} == {"web": (1600, 1000), "code": (1920, 800), "wiki": (480, 200)}
    assert {path: path.stat().st_mtime_ns for path in (folder / "root").rglob("*")} == before
    capsys.readouterr()
    assert cli.main(["mix", "mix/pretrain", "--set", "upsampling=null", *options]) == 0
    assert 'mix/pretrain with plan_mix: {"tokens": 2000' in (err := capsys.readouterr().err) and "upsampling" not in err
    assert cli.main(["mix", "mix/pretrain", "--set", "shares.web=1.4", *options]) == 2
    assert "must sum to 1" in capsys.readouterr().err
    assert cli.main(["mix", "mix/pretrain", "--set", "shares.book=0.1", *options]) == 2
    assert "no stream of source book" in capsys.readouterr().err


def test_a_changed_share_scales_the_others_and_only_those() -> None:
    params = {"tokens": 10, "shares": {"web": 0.5, "code": 0.3, "wiki": 0.2}, "buckets": {"web": {20: 0.5, 16: 0.5}}}
    assert mixes.change(params, ["shares.web=0.75"])["shares"] == pytest.approx({"web": 0.75, "code": 0.15, "wiki": 0.1})
    assert mixes.change(params, ["shares.web=0.2", "shares.code=0.2"])["shares"] == pytest.approx({"web": 0.2, "code": 0.2, "wiki": 0.6})
    assert mixes.change(params, ["buckets.web.20=0.8"])["buckets"] == {"web": {20: 0.8, 16: pytest.approx(0.2)}}
    assert mixes.change(params, ["best.web=15", "min_repeats.wiki=2"]) == {**params, "best": {"web": 15}, "min_repeats": {"wiki": 2}}
    assert mixes.change(params, ["buckets=null", "tokens=2_000_000"]) == {"tokens": 2_000_000, "shares": params["shares"]}
    for wrong in ("shares", "=1", "tokens.x=1"):
        with pytest.raises(ConfigError, match="--set"):
            mixes.change(params, [wrong])


def test_other_names_are_refused(flow: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    _, options = flow
    for arguments, code, words in (
        (["mix/none"], 3, "does not exist"), (["shard/pool"], 2, "is no mix"), (["shard/pool", "--set", "tokens=1"], 2, "is no recipe of a mix"),
        (["mix/pretrain", "--plot", "x.png"], 2, "is not drawn"),
    ):  # fmt: skip
        assert cli.main(["mix", *arguments, *options]) == code
        assert words in capsys.readouterr().err


def test_a_mix_whose_shards_were_made_anew_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_flow(tmp_path, {"web/en/art/20": 9, "code/-/-/0": 3}, x={"tokens": 80, "shares": {"web": 1.0}})
    assert cli.main(["run", "mix", *options]) == 0
    write_flow(tmp_path, {"web/en/art/20": 10, "code/-/-/0": 3}, x={"tokens": 80, "shares": {"web": 1.0}})
    assert cli.main(["run", "shard", *options]) == 0
    capsys.readouterr()
    assert cli.main(["mix", "mix/x", *options]) == 0
    assert "shard/pool was made anew after mix/x was planned" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["mix/pretrain"], ["mix/midtrain", "--against", "mix/pretrain"]])
def test_pictures_hold_a_bar_for_each_and_a_cell_for_each_vigintile(
    flow: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    _, options = flow
    for ending in ("svg", "html"):
        assert cli.main(["mix", *names, "--plot", str(tmp_path / f"x.{ending}"), *options]) == 0
    drawn, page = (tmp_path / "x.svg").read_text(), (tmp_path / "x.html").read_text()
    ElementTree.fromstring(drawn)
    for text in (drawn, page):
        assert text.count('class="stack"') == 1 + len(names[::2]) and text.count('class="cells"') == len(names[::2])
        assert "art, vigintile 20: 400 tokens, served" in text
        assert not re.search(r"url\(|@import|https?://(?!www.w3.org/2000/svg)", text)
    assert "<table>" in page and capsys.readouterr().out


def test_a_mix_tells_languages_and_an_older_one_without_them_is_still_read(flow: tuple[Path, list[str]]) -> None:
    folder, _ = flow
    made = manifests.read(folder / "root/mix/pretrain")
    assert set(made["lang"].to_pylist()) == {"en", "de", None}
    old = made.drop_columns(["lang", "source", "topic", "vigintile"])
    found = mixes._beside(folder / "root", "mix/old", old, {"shard/pool": manifests.load(folder / "root/shard/pool").fingerprint})
    assert found.streams.equals(mixes.read(folder / "root", "mix/pretrain").streams) and found.remade == ()
    gone = mixes._beside(folder / "nothing", "mix/old", made, {})
    assert gone.remade == ("shard/pool is gone",) and gone.served == found.served and set(gone.available.values()) == {0}


def test_a_thousand_streams_are_served_just_as_planned(tmp_path: Path) -> None:
    pytest.importorskip("streaming")
    from training import data

    cells = {f"{s}/-/t{t:02d}/{v}": 1 + (7 * t + 5 * v) % 4 for s in ("web", "pdf") for t in range(25) for v in range(1, 21)}
    tokens = int(0.83 * sum(cells.values()) * LENGTH)
    options = write_flow(tmp_path, cells, x={"tokens": tokens, "shares": {"web": 0.6, "pdf": 0.4}, "upsampling": {}})
    assert cli.main(["run", "mix/x", *options]) == 0
    root = tmp_path / "root"
    mix: pa.Table = manifests.read(root / "mix/x")
    planned = {row["stream"]: row["sequences"] for row in mix.to_pylist() if row["sequences"]}
    source = data.find(root, "mix/x")
    rows = data.open_rows(source, batch=4, seed=1)
    served = {str(Path(stream.local).relative_to(root / "shard/pool")): stream.choose for stream in rows.streams}
    assert served == planned and len(rows) == source.rows == sum(planned.values()) == round(tokens / LENGTH)
    assert mix.num_rows == 1000 and manifests.load(root / "mix/x").bytes < 100_000
    data.forget(data.shared_memory(rows))


def test_a_set_that_is_no_yaml_is_refused_and_a_share_may_go_again() -> None:
    params = {"tokens": 100, "shares": {"web": 0.5, "code": 0.5}}
    with pytest.raises(ConfigError, match="not YAML"):
        mixes.change(params, ["floors={wiki: 0.01"])
    assert mixes.change(params, ["shares.web=0.4", "shares=null"]) == {"tokens": 100}
    assert mixes.change(params, ["shares.web=0.4", "shares.web=null"])["shares"] == {"code": 0.5}
