"""The published mix of 6T tokens, rebuilt from shares, rates and the published lists; what `dolma/mix/README.md` says of it is compared figure by figure."""

import csv
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dolma.mix.curve import solve_many
from dolma.mix.ledger import planned

README = Path(__file__).parents[2] / "dolma" / "mix" / "README.md"
TOTAL = 6_000_000_000_000
NAMES = {"all-dressed": "web", "s2pdf": "PDFs", "stack-edu": "code", "finemath-3plus": "FineMath", "s2orc": "S2ORC", "arxiv": "arXiv", "wikipedia": "Wikipedia"}
LISTED = {"all-dressed": "Common Crawl", "s2pdf": "olmOCR science PDFs", "stack-edu": "Stack-Edu (rebalanced)", "finemath-3plus": "FineMath 3+",
          "arxiv": "arXiv (Proof-Pile-2)", "wikipedia": "Wikipedia & Wikibooks"}  # fmt: skip
DOMAINS = {"all-dressed": "dclm", "s2orc": "pes2o"}
SIZES = ((10**11, 10**13, "100B and more"), (10**10, 10**11, "10B to 100B"), (10**9, 10**10, "1B to 10B"), (0, 10**9, "under 1B"))

pytestmark = pytest.mark.kit


class Published:
    """The published tables; `plan` and `cells` are tokens by domain (`source` or `source:domain`), `plan` exact to the token."""

    def __init__(self, folder: Path) -> None:
        def read(name: str) -> Any:
            return json.loads((folder / name).read_text())

        def rows(name: str) -> list[dict[str, str]]:
            return list(csv.DictReader((folder / name).open()))

        full = read("pstar_full_domains.json")
        self.shares = {source: Fraction(str(share)) for source, share in full["cross_source"].items()}
        self.sources = {source: round(share * TOTAL) for source, share in self.shares.items()}
        self.plan = {domain: Fraction(str(share)) * TOTAL for domain, share in full["domains"].items()}
        self.mixes: dict[str, dict[str, int]] = {}
        for version in ("v01", "v02"):
            self.mixes[version] = {}
            for row in rows(f"mix_final_tokens_{version}.csv"):
                source = row["subset"].removesuffix("-snazzy2")
                alone = source in ("arxiv", "finemath-3plus", "wikipedia")  # v0.2 names a path where v0.1 names nothing
                self.mixes[version][source if alone else f"{DOMAINS.get(source, source)}:{row['category']}"] = int(row["tokens"])
        self.report = {row["source"]: row for row in rows("source_mix.csv")}
        self.web = read("upsampling_production_snazzy2.json")
        self.sample, self.targets = read("pool_web_tokens.json"), read("topic_targets.json")
        self.rates: dict[str, dict[str, float]] = {}
        for row in read("upsampling_other_sources.json"):
            source = row["source"]
            domain = row["domain"] if source == "smaller" else f"{ {'s2pdf-sep25': 's2pdf', 's2orc': 'pes2o'}.get(source, source) }:{row['domain']}"
            self.rates.setdefault(row["domain"] if source == "smaller" else source, {})[domain] = row["sample_rate"]

    def by_source(self, version: str) -> Counter[str]:
        back = {domain: source for source, domain in DOMAINS.items()}
        made = Counter[str]()
        for domain, tokens in self.mixes[version].items():
            made[back.get(name := domain.partition(":")[0], name)] += tokens
        return made

    def pool(self, source: str) -> int:
        """Tokens that the pool must hold where its rates give the plan: planned / rate, summed over domains."""
        return round(sum(float(self.plan[domain]) / rate for domain, rate in self.rates[source].items()))


@pytest.fixture(scope="module")
def mix(spec: Path) -> Published:
    return Published(spec)


def test_realised_tokens_are_exact(mix: Published) -> None:
    for version, column, total in (("v01", "mix_tokens_exact_v01_7B", 5_929_970_906_676), ("v02", "mix_tokens_exact_v02_32B", 5_931_079_555_554)):
        made = mix.by_source(version)
        assert {LISTED[source]: tokens for source, tokens in made.items()} == {n: int(r[column]) for n, r in mix.report.items() if n != "TOTAL"}
        assert made.total() == total == int(mix.report["TOTAL"][column]) and len(mix.mixes[version]) == 65
    one, other = mix.mixes["v01"], mix.mixes["v02"]
    assert {domain.partition(":")[0] for domain in one if one[domain] != other[domain]} == {"s2pdf"} and one.keys() == other.keys()


def test_planned_tokens_are_exact_and_their_domains_sum_to_them(mix: Published) -> None:
    assert sum(mix.sources.values()) == TOTAL
    for source, tokens in mix.sources.items():
        name = DOMAINS.get(source, source)
        parts = [share for domain, share in mix.plan.items() if domain.partition(":")[0] == name]
        assert float(sum(parts)) == pytest.approx(tokens, abs=1)
    missing = {domain for domain, tokens in mix.plan.items() if tokens and domain not in mix.mixes["v01"]}
    assert {domain.partition(":")[0] for domain in missing} == {"pes2o"}  # S2ORC and nothing else was left out


def test_what_the_curves_take_of_each_web_cell_is_the_published_plan(mix: Published) -> None:
    topics: dict[str, dict[int, int]] = {}
    for row in sorted(mix.sample, key=lambda row: row["vigintile"]):
        topics.setdefault(row["topic"], {})[row["vigintile"]] = row["tokens"]
    targets = [mix.targets["pstar"][topic] * mix.targets["target_tokens"] for topic in topics]
    curves = solve_many([np.array([*cells.values()]) for cells in topics.values()], targets)
    names = [(topic, v) for topic, cells in topics.items() for v in cells]
    sizes = np.array([tokens for cells in topics.values() for tokens in cells.values()])
    tokens = planned(np.concatenate([curve.rates for curve in curves]), sizes, float(mix.shares["all-dressed"] * TOTAL))
    made = {name: amount for name, amount in zip(names, tokens.tolist(), strict=True) if amount}
    assert made == pytest.approx({(row["topic"], row["vigintile"]): row["mix_tokens"] for row in mix.web}, rel=1e-5)
    for topic in topics:
        assert sum(a for (t, _), a in made.items() if t == topic) == pytest.approx(float(mix.plan[f"dclm:{topic}"]), rel=1e-9)
    assert round(sum(made.values())) == mix.sources["all-dressed"]
    assert all(row["pool_tokens"] * row["upsample_ratio"] == pytest.approx(row["mix_tokens"], rel=1e-12) for row in mix.web)


def test_the_reports_rounded_figures_are_those_of_the_7b_list_and_the_pool_of_the_32b_one(mix: Published) -> None:
    for source, tokens in mix.by_source("v01").items():
        row = mix.report[LISTED[source]]
        assert float(f"{tokens:.3g}") == float(row["mix_tokens"])
        digits = len(row["mix_share_pct"].partition(".")[2])
        for made in map(mix.by_source, mix.mixes):
            assert round(100 * made[source] / made.total(), digits) == float(row["mix_share_pct"])
            assert float(f"{made.total():.3g}") == 5.93e12
    assert float(f"{mix.by_source('v02')['s2pdf']:.3g}") == 806e9 and float(mix.report[LISTED["s2pdf"]]["mix_tokens"]) == 805e9
    for source in ("stack-edu", "finemath-3plus", "arxiv", "wikipedia"):
        assert float(f"{mix.pool(source):.3g}") == float(mix.report[LISTED[source]]["pool_tokens"])
    assert float(f"{mix.pool('s2pdf-sep25'):.3g}") == float(mix.report[LISTED["s2pdf"]]["pool_tokens"]) == 972e9


def table(head: str, rows: list[list[str]]) -> list[str]:
    return [head, "|".join(["", "---", *["---:"] * (head.count("|") - 2), ""]), *(f"| {' | '.join(row)} |" for row in rows)]


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:+.2f} %" if whole else ""


def tables(mix: Published) -> list[list[str]]:
    """The tables of the README, line by line."""
    one, two = mix.by_source("v01"), mix.by_source("v02")
    order = sorted(mix.sources, key=lambda source: -mix.sources[source])
    pools = {"all-dressed": sum(row["pool_tokens"] for row in mix.web), "s2pdf": mix.pool("s2pdf-sep25")}
    pools |= {source: mix.pool(source) for source in order if source not in pools}
    sources = [
        [NAMES[s], f"{float(mix.shares[s]):.6f}", f"{mix.sources[s]:,}", f"{pools[s]:,}", f"{mix.sources[s] / pools[s]:.3f}", f"{one[s]:,}", f"{two[s]:,}"]
        for s in order
    ]
    sources.append(["all", "1.000000", f"{TOTAL:,}", f"{sum(pools.values()):,}", "", f"{one.total():,}", f"{two.total():,}"])
    gaps = [
        [NAMES[s], *(x for made in (one, two) for x in (f"{made[s] - mix.sources[s]:+,}", percent(made[s] - mix.sources[s], mix.sources[s])))] for s in order
    ]
    gaps.append(["all", *(x for made in (one, two) for x in (f"{made.total() - TOTAL:+,}", percent(made.total() - TOTAL, TOTAL)))])
    web = []
    for domain, tokens in sorted(mix.plan.items(), key=lambda item: -item[1]):
        if domain.startswith("dclm:"):
            got = mix.mixes["v01"][domain]
            web.append(
                [domain.removeprefix("dclm:"), f"{round(tokens):,}", f"{got:,}", f"{got - round(tokens):+,}", percent(got - float(tokens), float(tokens))]
            )
    sizes = []
    for low, high, name in SIZES:
        row = [name]
        for made in mix.mixes.values():
            off = {domain: (got - float(mix.plan[domain])) / float(mix.plan[domain]) for domain, got in made.items() if low <= mix.plan[domain] < high}
            net = sum(made[domain] - float(mix.plan[domain]) for domain in off)
            row += [str(len(off)), f"{net:+,.0f}", f"{min(off.values()):+.2%} to {max(off.values()):+.2%}".replace("%", " %")]
        sizes.append(row)
    return [
        table("| source | share | planned | pool | rate | v0.1 (7B) | v0.2 (32B) |", sources),
        table("| less the plan | v0.1 | | v0.2 | |", gaps),
        table("| topic of the web | planned | both lists | less the plan | |", web),
        table("| cells planned at | v0.1: cells | net | from, to | v0.2: cells | net | from, to |", sizes),
    ]


def said(mix: Published) -> set[str]:
    """Every figure that the prose may name."""
    figures = {f"{TOTAL:,}", "6", "24", "201"}
    for made in (mix.by_source("v01"), mix.by_source("v02")):
        gap, out = TOTAL - made.total(), mix.sources["s2orc"]
        figures |= {f"{made.total():,}", f"{gap:,}", f"{100 * out / gap:.2f}", f"{gap - out:,}", f"{100 * (gap - out) / TOTAL:.3f}"}
    figures |= {f"{mix.sources['s2orc']:,}", "65", "805", "806", "972", "0.1", "0.2", "100", "5.93", "3"}
    changes = [got - float(mix.plan[domain]) for domain, got in mix.mixes["v01"].items()]
    figures |= {str(sum(change > 0 for change in changes)), str(sum(change < 0 for change in changes))}
    figures |= {f"{sum(c for c in changes if c > 0) / 1e9:.2f}", f"{-sum(c for c in changes if c < 0) / 1e9:.2f}"}
    taken = sum(row["pool_tokens"] for row in mix.web)
    figures |= {f"{taken / 1e12:.2f}", mix.report["Common Crawl"]["pool_tokens"].removesuffix("e12"), f"{100 * taken / 8.14e12:.0f}"}
    arxiv = mix.rates["arxiv"]["arxiv"]
    figures |= {f"{arxiv:.3f}", f"{mix.by_source('v01')['arxiv'] / mix.pool('arxiv'):.3f}", f"{mix.pool('s2pdf') / 1e9:,.0f}"}
    return figures


def test_the_readme_says_what_the_tables_give(mix: Published) -> None:
    section = README.read_text().partition("## The published mix\n")[2].partition("\n## ")[0]
    lines = section.splitlines()
    assert [line for line in lines if line.startswith("|")] == [line for made in tables(mix) for line in made]
    prose = " ".join(line for line in lines if not line.startswith("|"))
    numbers = set(re.findall(r"\d[\d,]*(?:\.\d+)?", re.sub(r"`[^`]*`|v0\.[12]\b|\b7B\b|\b32B\b|S2ORC", " ", prose)))
    assert len(numbers) > 15 and not {number.rstrip(",") for number in numbers} - said(mix)
