"""Real repeats: the published figures, the arithmetic, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.mix.curve import solve_many
from dolma.mix.ledger import COLUMNS, explain, ledger, planned

CELLS = pa.table({"source": ["web", "web", "code"], "topic": ["art", "art", None], "vigintile": [19, 20, 0]})
OVER = [("software_development", 20, 8.369), ("science_math_and_technology", 20, 8.169), ("software", 20, 7.511), ("games", 20, 7.100),
        ("software_development", 18, 7.044), ("electronics_and_hardware", 20, 7.003)]  # fmt: skip


@pytest.fixture(scope="module")
def published(spec: Path) -> pa.Table:
    """The ledger of production: curves fitted on the sample (set C), planned for the web's share of 6T, drawn from the real pool."""
    sample: dict[str, dict[int, int]] = {}
    for row in sorted(json.loads((spec / "pool_web_tokens.json").read_text()), key=lambda row: row["vigintile"]):
        sample.setdefault(row["topic"], {})[row["vigintile"]] = row["tokens"]
    targets = json.loads((spec / "topic_targets.json").read_text())
    curves = solve_many([np.array([*cells.values()]) for cells in sample.values()], [targets["pstar"][topic] * targets["target_tokens"] for topic in sample])
    fitted = {(topic, v): rate for (topic, cells), curve in zip(sample.items(), curves, strict=True) for v, rate in zip(cells, curve.rates, strict=True)}
    real = {(row["topic"], row["vigintile"]): row["pool_tokens"] for row in json.loads((spec / "upsampling_production_snazzy2.json").read_text())}
    mix = json.loads((spec / "pstar_full_domains.json").read_text())
    rates, sizes = (np.array([by(cell) for cell in real]) for by in (fitted.__getitem__, lambda cell: sample[cell[0]][cell[1]]))
    tokens = planned(rates, sizes, mix["cross_source"]["all-dressed"] * mix["token_target"])
    cells = pa.table({"topic": [topic for topic, _ in real], "vigintile": [v for _, v in real]})
    return ledger(cells, tokens, np.array([*real.values()]), cap=targets["max_upsample"], rates=rates)


@pytest.mark.kit
def test_six_published_cells_pass_the_cap(published: pa.Table) -> None:
    over = sorted((row for row in published.to_pylist() if row["over"]), key=lambda row: -row["repeats"])
    assert [(row["topic"], row["vigintile"], round(row["repeats"], 3)) for row in over] == OVER
    ratio = np.sort(published["repeats"].to_numpy() / published["fitted"].to_numpy())
    assert (round(float(np.median(ratio)), 3), round(ratio[0], 3), round(ratio[-1], 3)) == (1.233, 1.224, 1.246)


@pytest.mark.kit
def test_real_repeats_are_the_published_rates_of_all_201_cells(published: pa.Table, spec: Path) -> None:
    rows = json.loads((spec / "upsampling_production_snazzy2.json").read_text())
    assert published["repeats"].to_pylist() == pytest.approx([row["upsample_ratio"] for row in rows], rel=1e-5) and len(rows) == 201
    excess = {(row["topic"], row["vigintile"]): row["mix_tokens"] - 7 * row["pool_tokens"] for row in rows if row["upsample_ratio"] > 7}
    made = {(row["topic"], row["vigintile"]): row["excess"] for row in published.to_pylist() if row["over"]}
    assert made == pytest.approx(excess, rel=3e-4) and sum(made.values()) == pytest.approx(sum(excess.values()), rel=1e-5)


@pytest.mark.kit
def test_the_published_ledger_explained(published: pa.Table) -> None:
    lines = explain(published, 7).splitlines()
    assert lines[0].startswith("6 of 201 cells are repeated more than 7 times: 60,107,") and lines[0].endswith(" tokens over.")
    assert lines[1].startswith("Real repeats are 1.233 times the fitted ones (1.224 to 1.246):")
    assert [line.split(":")[0] for line in lines[2:]] == [f"- {topic}/{v}" for topic, v, _ in OVER]
    assert "fitted 6.767," in lines[2] and "real 8.369, 16,490," in lines[2]


def test_repeats_and_what_is_over() -> None:
    made = ledger(CELLS, np.array([140.0, 701.0, 0.0]), np.array([20, 100, 0]), cap=7, rates=np.array([6.0, 5.0, 0.0]))
    assert made.schema == pa.schema([*CELLS.schema, *COLUMNS.items()])
    assert made.drop_columns(CELLS.column_names).to_pylist() == [
        {"fitted": 6.0, "repeats": 7.0, "over": False, "excess": 0},
        {"fitted": 5.0, "repeats": 7.01, "over": True, "excess": 1},
        {"fitted": 0.0, "repeats": 0.0, "over": False, "excess": 0},
    ]
    assert explain(made, 7).splitlines() == [
        "1 of 3 cells are repeated more than 7 times: 1 tokens over.",
        "Real repeats are 1.284 times the fitted ones (1.167 to 1.402): from the fit on, the tokens that are taken grew by that factor more than the pool.",
        "- web/art/20: fitted 5.000, real 7.010, 1 tokens over",
    ]


def test_without_rates_the_fitted_repeats_are_null() -> None:
    made = ledger(CELLS, np.array([1.0, 300.0, 0.0]), np.array([1, 100, 1]), cap=2)
    assert made["fitted"].null_count == 3
    assert explain(made, 2) == "1 of 3 cells are repeated more than 2 times: 100 tokens over.\n- web/art/20: real 3.000, 100 tokens over"
    assert explain(ledger(CELLS, np.ones(3), np.ones(3), cap=2), 2) == "0 of 3 cells are repeated more than 2 times: 0 tokens over."
    assert explain(ledger(CELLS[:0], np.ones(0), np.ones(0), cap=2), 2).startswith("0 of 0 cells")


AMOUNTS = st.lists(st.tuples(st.floats(0, 9), st.integers(1, 10**12), st.integers(1, 10**12)), min_size=1, max_size=30).filter(
    lambda rows: any(r[0] > 1e-6 for r in rows)
)


@settings(max_examples=100)
@given(AMOUNTS, st.floats(1, 1e13), st.floats(0.1, 9))
def test_the_excess_is_what_the_mix_has_over_the_cap(rows: list[tuple[float, int, int]], target: float, cap: float) -> None:
    rates, fitted, pool = (np.array(column, float) for column in zip(*rows, strict=True))
    tokens = planned(rates, fitted, target)
    assert tokens.sum() == pytest.approx(target) and tokens / target == pytest.approx(rates * fitted / (rates @ fitted))
    made = ledger(pa.table({"cell": np.arange(len(rows))}), tokens, pool, cap=cap, rates=rates)
    kept = tokens - made["excess"].to_numpy()
    assert (kept <= cap * pool * (1 + 2e-9) + 0.5).all() and (made["repeats"].to_numpy() * pool == pytest.approx(tokens))
    assert ((made["excess"].to_numpy() > 0) <= made["over"].to_numpy()).all()


@pytest.mark.parametrize(
    ("tokens", "pool", "rates", "named"),
    [
        ([1, 2], [1, 1, 1], None, "ledger: tokens"), ([1, -2, 3], [1, 1, 1], None, "ledger: tokens"), ([1, np.nan, 3], [1, 1, 1], None, "ledger: tokens"),
        ([1, 2, 3], [1, 1, np.inf], None, "ledger: pool"), ([1, 2, 3], [1, 1, 1], [1, np.nan, 1], "ledger: rates"),
        ([1, 2, 3], [1, 0, 1], None, "ledger: web/art/20: is in the mix and not in the pool"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_by_its_name(tokens: list[float], pool: list[float], rates: list[float] | None, named: str) -> None:
    with pytest.raises(DataError, match=named):
        ledger(CELLS, np.array(tokens), np.array(pool), cap=7, rates=None if rates is None else np.array(rates))


@pytest.mark.parametrize(("rates", "target"), [([0.0, 0.0], 1.0), ([1.0, -1.0], 1.0), ([1.0, np.nan], 1.0), ([1.0, 1.0], -1.0), ([1.0, 1.0], np.nan)])
def test_a_mix_without_shares_is_refused(rates: list[float], target: float) -> None:
    with pytest.raises(DataError, match="no shares of a mix"):
        planned(np.array(rates), np.ones(2), target)
