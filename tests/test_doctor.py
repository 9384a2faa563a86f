"""`dolma doctor` looks for what pyproject.toml asks for, and says how to get it."""

import re
import tomllib
from pathlib import Path

import pytest

from dolma import doctor

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def _wanted() -> dict[str, str]:
    found = {}
    extras = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name not in ("all", "dev", "ocr")}
    for needs in (PROJECT["dependencies"], *extras.values()):
        for need in needs:
            match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?>=([\d.]+)", need)
            if match:
                found[match.group(1).lower()] = match.group(2)
    return found


def test_every_door_has_the_floor_of_pyproject() -> None:
    wanted = _wanted()
    for name, least, *_ in doctor.DOORS:
        assert wanted.get(name) == least, name


def test_java_is_required_for_spark_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "java", lambda: "")
    for engine, required in (("datatrove", False), ("spark", True)):
        (found,) = [f for f in doctor.findings(engine, tmp_path, None) if f.what == "java"]
        assert (found.ok, found.required) == (False, required)
        assert "openjdk-17" in found.mend


def test_an_old_java_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "java", lambda: "11.0.2")
    assert not next(f for f in doctor.findings("spark", tmp_path, None) if f.what == "java").ok


def test_java_home_without_a_java_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert doctor.java() == ""


@pytest.mark.parametrize(("newer", "older"), [("2.10", "2.9.1"), ("17.0.15", "17"), ("2.7.0+cpu", "2.6"), ("2024.6", "2024.5.9")])
def test_versions_compare_by_number(newer: str, older: str) -> None:
    assert doctor.version(newer) > doctor.version(older)


def test_a_missing_package_says_which_extra_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DOORS", (("no-such-package", "1", "web", "nothing"),))
    found = next(f for f in doctor.findings("datatrove", Path("/"), None) if f.what == "no-such-package")
    assert (found.ok, found.required, found.mend) == (False, True, "pip install 'dolma-flow[web]'")
