"""Dividing tokens with floors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix.plan import _checked, plan_mix
from dolma.mix.shares import divide

PARTS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12)


@given(PARTS, st.floats(1, 1e6), st.floats(0, 1))
def test_what_is_above_its_floor_keeps_its_proportions(parts: list[tuple[float, float]], target: float, full: float) -> None:
    weights, least = np.array([w for w, _ in parts]), np.array([f for _, f in parts])
    weights, least = weights / weights.sum(), least / max(least.sum(), 1e-9) * target * full * 0.999
    got = divide(target, weights, least)
    assert got.sum() == pytest.approx(target) and (got >= least * (1 - 1e-9)).all()
    free = got > least * (1 + 1e-9)
    scale = got[free] / weights[free]
    assert np.allclose(scale, scale[:1], rtol=1e-6) and (not free.any() or (got[~free] >= scale[0] * weights[~free] * (1 - 1e-6)).all())


def test_without_floors_weights_are_taken_as_they_are() -> None:
    assert divide(1000.0, np.array([0.1, 0.2, 0.7]), np.zeros(3)).tolist() == [100.0, 200.0, 700.0]
    assert divide(10.0, np.array([1.0, 0.0]), np.array([0.0, 3.0])).tolist() == [7.0, 3.0]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("shares", {"web": 0.5, "code": 0.4}, "sum 0.9"), ("shares", {"web": 0.0}, "sum 0.0"), ("shares", {"web": -1, "code": 2}, "greater_than_equal"),
        ("shares", {"web": float("nan")}, "finite"), ("shares", {}, "sum 0"), ("topics", {"law": 0.5}, "sum 0.5"), ("topics", {"web": {"law": 0.5}}, "sum 0.5"),
        ("topics", {"web": {"law": 1.0}, "art": 1.0}, "art"), ("languages", {"en": 2.0}, "sum 2"), ("buckets", {"web": {20: 0.5}}, "sum 0.5"),
        ("buckets", {"web": {21: 1.0}}, "21"), ("repeats", {"web": -1}, "-1"), ("best", {"web": 21}, "best"), ("floors", {"wiki": 1.5}, "floors"),
        ("floors", {"wiki": 0.6, "code": 0.5}, "0.100000 is missing"), ("floors", {"wiki": 1e-320}, "floors"),
        ("shares", {"web": 1.0, "code": 1e-320}, "code: 1e-320"),
        ("shares", {"web": 1.7e308, "code": 1.7e308}, "sum inf"), ("topics", {"law": 1.0, "art": 1e-300}, "art: 1e-300"), ("repeats", {"web": 1e300}, "1e+300"),
        ("repeats", {"web": {"20": 1e-300}}, "1e-300"), ("min_repeats", {"web": float("inf")}, "min_repeats"), ("max_repeats", 1e-320, "max_repeats"),
        ("max_repeats", float("inf"), "max_repeats"), ("upsampling", {"cap": float("inf")}, "upsampling.cap"),
        ("upsampling", {"cap": 5e-324}, "upsampling.cap"),
        ("min_repeats", {"wiki": float("nan")}, "min_repeats"), ("max_repeats", float("nan"), "max_repeats"), ("max_repeats", {"web": 0}, "max_repeats"),
        ("tokens", 0, "tokens"), ("upsampling", {"capp": 7}, "capp"),
    ],
)  # fmt: skip
def test_what_needs_no_streams_is_checked_with_the_recipe(field: str, value: object, named: str) -> None:
    with pytest.raises(ValueError, match=field) as error:
        plan_mix.params(**{"tokens": 1000, field: value})
    assert named in str(error.value)


def test_floors_within_a_source_may_overlap_so_their_sum_is_not_refused_before_the_streams_are_known() -> None:
    plan_mix.params(tokens=1000, floors={"web/law": 0.6, "web/en": 0.5})


def test_topics_or_languages_of_a_source_whose_copies_are_given_are_refused() -> None:
    for field in ("topics", "languages"):
        with pytest.raises(ConfigError, match=f"plan_mix: repeats and {field}"):
            _checked(plan_mix.params(tokens=1000, repeats={"web": 1.0}, **{field: {"web": {"law": 1.0}}}))


def test_the_values_of_yaml_and_of_json_are_taken() -> None:
    made = plan_mix.params(tokens=2e6, topics={"web": {"law": 1}}, buckets={"web": {"20": 1}}, repeats={"math": 2, "pdf": {"16": 1.5}}, max_repeats={"web": 4})
    again = plan_mix.params(**made.model_dump(mode="json"))
    assert again == made and made.buckets == {"web": {20: 1.0}} and made.repeats == {"math": 2.0, "pdf": {16: 1.5}}  # pyright: ignore
