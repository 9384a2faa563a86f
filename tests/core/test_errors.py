"""Errors: four parts, an exit code, and the same after a trip between processes."""

import pickle

import pytest

from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Errors, Partial

CODES = {DolmaError: 1, ConfigError: 2, DataError: 3, EnvironmentFault: 4, Partial: 5}


@pytest.mark.parametrize("kind", list(CODES))
def test_an_error_is_the_same_in_another_process(kind: type[DolmaError]) -> None:
    error = kind("a.yaml", "wrong", got={"x": 1}, expected="y", mend="mend it")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        there = pickle.loads(pickle.dumps(error, protocol))
        assert type(there) is kind and there.__dict__ == error.__dict__ and str(there) == str(error)
        assert there.code == CODES[kind]


def test_several_errors_stay_several_in_another_process() -> None:
    error = Errors([DataError("a", "b", mend="c"), ConfigError("d", "e", got=1, expected=2, mend="f")])
    there = pickle.loads(pickle.dumps(error))
    assert [type(one) for one in there.errors] == [DataError, ConfigError] and str(there) == str(error)
    assert there.code == error.code == 3  # that of the first


def test_a_message_has_its_parts_and_no_empty_one() -> None:
    assert str(DataError("x.gz, byte 7", "cut short", got=3, expected=4, mend="fetch it again")) == (
        "x.gz, byte 7: cut short\n  got 3, expected 4\n  mend: fetch it again"
    )
    assert str(DataError("x", "y", mend="z")) == "x: y\n  mend: z"
    assert "got 0" in str(DataError("x", "y", got=0, mend="z"))
