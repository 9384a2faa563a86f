"""Strict YAML."""

import math
from datetime import date
from pathlib import Path

import pytest

from dolma.core.config import Env, parse, read_yaml
from dolma.core.errors import ConfigError, DolmaError, Errors


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "env.yaml"
    path.write_text(text)
    return path


def test_env_is_read(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, "root: a\nraw: b\n"), Env).workers == 2


def test_misspelt_keys_are_all_shown_with_their_mends(tmp_path: Path) -> None:
    with pytest.raises(Errors) as error:
        read_yaml(write(tmp_path, "root: a\nraw: b\nworker: 3\nengin: spark\n"), Env)
    assert "did you mean `workers`?" in str(error.value) and "did you mean `engine`?" in str(error.value) and error.value.code == 2


@pytest.mark.parametrize("text", ["root: [", "root: !!python/object/apply:os.system [true]\nraw: b", "- a", "root: a\nraw: b\nworkers: many", "root: a"])
def test_what_is_not_an_env_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DolmaError) as error:
        read_yaml(write(tmp_path, text), Env)
    assert error.value.code == 2 and "env.yaml" in str(error.value) and "mend:" in str(error.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "root: a\nraw: b\n")
    with pytest.raises(ConfigError, match=r"did you mean .*env\.yaml"):
        read_yaml(tmp_path / "envv.yaml", Env)


def test_what_is_not_yaml_is_refused_with_the_character_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(write(tmp_path, "root: a\nraw: @b\n"), Env)
    assert error.value.where.endswith("env.yaml:2") and error.value.got == "found character '@' that cannot start any token"


@pytest.mark.parametrize("parser", ["libyaml", "PyYAML"])
def test_yaml_reads_the_same_without_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parser: str) -> None:
    if parser == "PyYAML":
        monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    text = "{root: 1e3, raw: 1.0e-5, n: 10_000, o: 017, yes: ~, d: 2024-01-01, q: 'é\u2028it''s', w: \"a > 'b' AND c\", <<: {x: .inf}, l: [http://a, b:c]}"
    assert parse(write(tmp_path, text)) == {
        **{"root": "1e3", "raw": 1e-5, "n": 10000, "o": 15, True: None, "d": date(2024, 1, 1)},
        **{"q": "é\u2028it's", "w": "a > 'b' AND c", "x": math.inf, "l": ["http://a", "b:c"]},
    }
