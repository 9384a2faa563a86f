"""The peer of the curves: nested, lean and stopped are one search, and nested it integrates for every point of the density."""

from typing import Any

import numpy as np
import pytest
import scipy.integrate

from benchmarks import curve_quadrature as bench
from dolma.mix.curve import SETS, solve

TOKENS, TARGET = [300, 200, 250, 150, 100], 2500.0


def test_nested_lean_and_stopped_give_the_same_rates_and_ours_within_what_a_bisection_leaves() -> None:
    nested = bench._search(TOKENS, TARGET, nested=True, stop=False)
    assert nested == bench._search(TOKENS, TARGET, nested=False, stop=False) == bench._search(TOKENS, TARGET, nested=False, stop=True)
    made = solve(np.array(TOKENS), TARGET, params=SETS["B"])
    assert 0 < made.growth < SETS["B"].lambda_max and made.p < 2  # it is the cap that decides
    assert nested == pytest.approx(made.rates.tolist(), rel=1e-6)


def test_only_the_nested_one_integrates_at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    quad, asked = scipy.integrate.quad, []

    def counted(*args: Any) -> Any:
        asked.append(args)
        return quad(*args)

    monkeypatch.setattr(scipy.integrate, "quad", counted)
    counts = []
    for nested in (False, True):
        asked.clear()
        bench._search(TOKENS, TARGET, nested=nested, stop=True)
        counts.append(len(asked))
    assert counts[1] > 10 * counts[0] > 100  # 21 points of a mean, each with a scale of its own, for one mean and one scale
