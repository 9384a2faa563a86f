"""What a recipe asks of a mix, checked as far as it can be without the streams, and how a number of tokens is divided by it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from dolma.core.errors import ConfigError, DolmaError, Errors

MOST = 7.0  # copies, where nothing else is said: the cap of the published mix (Olmo 3 report, quality-aware upsampling)
SUM = 1e-9  # tenths sum to 1 but for rounding
LEAST, LARGEST = 1e-15, 1e15  # of shares and copies: a token of a pool of 1e15, and as many copies of one. Beyond is a slip, whose products may overflow


def whole(weights: Mapping[Any, float]) -> Mapping[Any, float]:
    """`weights` as they are, if they are at least 0 and sum to 1; NaN is neither.

    Raises:
        PydanticCustomError: they are not; with those that have the same proportions and sum to 1, where there are such.
    """
    if wrong := wrong_sum(weights):
        raise PydanticCustomError("sum 1", wrong)  # pyright: ignore[reportArgumentType]
    return weights


def wrong_sum(weights: Mapping[Any, float]) -> str:
    """What is wrong with weights that must be at least 0 and sum to 1; empty where nothing is. No braces: pydantic would fill them."""
    bad = [f"{name}: {value}" for name, value in weights.items() if not 0 <= value < math.inf]
    if bad:
        return f"must be numbers of 0 or more, {', '.join(bad)} is not"
    if tiny := [f"{name}: {value}" for name, value in weights.items() if 0 < value < LEAST]:
        return f"must be 0 or at least {LEAST:g}, {', '.join(tiny)} is not"
    total = sum(weights.values())
    if abs(total - 1) <= SUM:
        return ""
    some = 0 < total < math.inf
    same = f"; in the same proportions: {', '.join(f'{name}: {value / total:.6g}' for name, value in weights.items())}" if some else ""
    return f"must sum to 1 (sum {total:.6f}){same}"


def _floors(floors: Mapping[str, float]) -> Mapping[str, float]:
    """Those of sources sum to 1 or less. Those within a source may be of topics and of languages, which overlap: `floors.refused` tells them apart."""
    total = sum(least for path, least in floors.items() if "/" not in path)
    if total > 1 + SUM:
        raise PydanticCustomError("sum of 1 or less", f"the least shares of the sources sum to {total:.6f}: {total - 1:.6f} is missing")  # pyright: ignore[reportArgumentType]
    return floors


def _amount(value: float) -> float:
    if 0 < value < LEAST:
        raise PydanticCustomError("an amount", f"{value} is 0 or at least {LEAST:g}")  # pyright: ignore[reportArgumentType]
    return value


def _nested(value: object) -> str:
    return "each" if isinstance(value, Mapping) and any(isinstance(one, Mapping) for one in value.values()) else "all"


Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=LARGEST), AfterValidator(_amount)]
Shares = Annotated[dict[str, Share], AfterValidator(whole)]
Within = Annotated[Annotated[Shares, Tag("all")] | Annotated[dict[str, Shares], Tag("each")], Discriminator(_nested)]
Vigintile = Annotated[int, Field(ge=0, le=20)]
Buckets = dict[str, Annotated[dict[Vigintile, Share], AfterValidator(whole)]]
Fixed = dict[str, Amount | dict[Vigintile, Amount]]
Floors = Annotated[dict[str, Annotated[float, Field(ge=0, le=1), AfterValidator(_amount)]], AfterValidator(_floors)]
Cap = Annotated[float, Field(ge=LEAST, le=LARGEST)]


class Upsampling(BaseModel):
    """The quality curve within each topic; absent: every token of a source is worth the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    params: Literal["A", "B", "C"] = "C"
    cap: Cap = 7.0
    throwaway: Annotated[float, Field(ge=0, lt=1)] = 0.4
    fallback: Literal["none", "throwaway", "cap"] = "none"  # what gives way where a topic cannot have its tokens; a warning names it


@dataclasses.dataclass(frozen=True)
class Terms:
    """The parameters of `plan_mix`; see there."""

    tokens: int | None
    shares: dict[str, float] | None
    topics: dict[str, float] | dict[str, dict[str, float]] | None
    languages: dict[str, float] | dict[str, dict[str, float]] | None
    buckets: dict[str, dict[int, float]]
    repeats: dict[str, float | dict[int, float]]
    upsampling: Upsampling | None
    best: dict[str, int]
    floors: dict[str, float]
    min_repeats: dict[str, float]
    max_repeats: float | dict[str, float]
    within: dict[tuple[str, ...], float] = dataclasses.field(default_factory=dict)  # least share of a language by (source, language, topic), for a floor

    def topics_of(self, source: str, ranked: bool) -> dict[str, float] | None:
        """Shares of topics within a source; those given for all hold for sources with quality (`ranked`)."""
        return _within(self.topics, source, ranked)

    def languages_of(self, source: str) -> dict[str, float] | None:
        """Shares of languages within a source; those given for all hold for every source."""
        return _within(self.languages, source, True)

    def caps(self, source: str, *parts: str, otherwise: float = MOST) -> dict[str, float]:
        """Most copies of a source, or of a topic or language of it, by the field that says so: those of topic and language, else that of the source, else
        `otherwise`: the most specific wins."""
        given = self.max_repeats
        if not isinstance(given, dict):
            return {"max_repeats": given}
        paths = [path for part in parts if (path := f"{source}/{part}") in given] or [source]
        return {f"max_repeats.{path}" if given else "max_repeats": given.get(path, otherwise) for path in paths}

    def most(self, source: str, *parts: str) -> float:
        """The least of `caps`."""
        return min(self.caps(source, *parts).values())

    def by_part(self, source: str) -> bool:
        """Whether topics or languages of a source have caps of their own."""
        return isinstance(self.max_repeats, dict) and any(path.startswith(f"{source}/") for path in self.max_repeats)

    def named(self, source: str) -> set[str]:
        """Topics and languages of a source that stand in `floors`, `min_repeats` or `max_repeats`."""
        caps = self.max_repeats if isinstance(self.max_repeats, dict) else {}
        paths = (*self.floors, *self.min_repeats, *caps)
        return {part for path in paths for above, slash, part in [path.partition("/")] if slash and above == source}

    def check(self) -> None:
        """What contradicts itself, whatever the streams are.

        Raises:
            ConfigError: (or Errors with all of them) with the field.
        """
        refuse([*self._sums(), *self._clashes()])

    def _sums(self) -> Iterator[DolmaError]:
        given: dict[str, Mapping[Any, float]] = {"shares": self.shares} if self.shares is not None else {}
        for field, value in (("topics", self.topics), ("languages", self.languages)):
            if value is not None:
                given |= {f"{field}.{source}": inner for source, inner in value.items()} if _nested(value) == "each" else {field: value}  # pyright: ignore
        given |= {f"buckets.{source}": inner for source, inner in self.buckets.items()}
        for field, weights in given.items():
            if wrong := wrong_sum(weights):
                yield ConfigError(f"plan_mix: {field}", wrong, got=dict(weights), expected="sum 1", mend="mend them")

    def _clashes(self) -> Iterator[DolmaError]:
        if self.tokens is None and (self.shares is not None or not self.repeats):
            yield ConfigError("plan_mix: tokens", "shares are shares of a number of tokens", got="no `tokens`", expected="a number", mend="say how many")
        if self.tokens is not None and self.tokens < 1:
            yield ConfigError("plan_mix: tokens", "a mix has tokens", got=self.tokens, expected="1 or more", mend="say how many")
        within = [(field, value if value and _nested(value) == "each" else {}) for field, value in (("topics", self.topics), ("languages", self.languages))]
        for field, other in (("shares", self.shares or {}), ("buckets", self.buckets), *within):
            if both := sorted(set(self.repeats) & set(other)):
                mend = f"leave {', '.join(both)} out of one of them"
                yield ConfigError(f"plan_mix: repeats and {field}", "both say how much is taken", got=", ".join(both), expected="one of the two", mend=mend)
        caps = self.max_repeats if isinstance(self.max_repeats, dict) else {"": self.max_repeats}
        for path, most in caps.items():
            if not LEAST <= most <= LARGEST:  # NaN neither
                where = f"plan_mix: max_repeats{f'.{path}' if path else ''}"
                expected = f"{LEAST:g} to {LARGEST:g}"
                yield ConfigError(where, "a cap is a number above 0", got=most, expected=expected, mend="say how many copies are allowed")
        for field, other in (("floors", self.floors), ("min_repeats", self.min_repeats)):
            if both := sorted({path.partition("/")[0] for path in other} & set(self.repeats)):
                what, mend = "both say how much is taken", f"leave {', '.join(both)} out of one of them"
                yield ConfigError(f"plan_mix: repeats and {field}", what, got=", ".join(both), expected="one of the two", mend=mend)
        for field, amounts in (("floors", self.floors), ("min_repeats", self.min_repeats), ("repeats", _flat(self.repeats))):
            for path, amount in amounts.items():
                if amount and not LEAST <= amount <= LARGEST:
                    expected = f"0, or {LEAST:g} to {LARGEST:g}"
                    yield ConfigError(f"plan_mix: {field}.{path}", "is no amount", got=amount, expected=expected, mend="mend it, or leave it out")
        for path, least in self.min_repeats.items():
            source, _, part = path.partition("/")
            if not least <= (most := self.most(source, *([part] if part else []))):
                mend = "lower one, or raise the other"
                yield ConfigError(f"plan_mix: min_repeats.{path}", "is over `max_repeats`", got=f"{least:g}", expected=f"at most {most:g}", mend=mend)


def _flat(repeats: Mapping[str, float | dict[int, float]]) -> dict[str, float]:
    whole: dict[str, float] = {source: copies for source, copies in repeats.items() if not isinstance(copies, dict)}
    return whole | {f"{source}.{level}": n for source, copies in repeats.items() if isinstance(copies, dict) for level, n in copies.items()}


def refuse(errors: list[DolmaError]) -> None:
    """Raise what is wrong, if anything is, all at once."""
    if errors:
        raise errors[0] if len(errors) == 1 else Errors(errors)


def _within(value: Mapping[str, Any] | None, source: str, all_of_them: bool) -> dict[str, float] | None:
    if value is None:
        return None
    return value.get(source) if _nested(value) == "each" else dict(value) if all_of_them else None


def divide(target: float, weights: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Tokens of each part: `target` in proportion to the weights, but none below its least.

    What is below its least gets that, and the others keep their proportions among themselves: max(least, c x weight), with the c that sums to the target.

    Args:
        target: tokens of all, at least `least.sum()`.
        weights: of each part, >= 0, shape (parts,), with a positive sum.
        least: tokens, >= 0, shape (parts,).
    """
    got, raised = target * weights, np.zeros(len(weights), bool)
    while (below := ~raised & (got < least)).any():
        raised |= below
        rest = weights[~raised].sum()
        got = np.where(raised, least, (target - least[raised].sum()) * weights / rest if rest else 0.0)
    return got
