"""The table of mixes: verdicts, its form, the files behind it."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import mixes
from dolma.core import manifest as manifests
from dolma.core.config import parse, read_yaml
from dolma.swarm.config import Swarm, stage

PIPELINES = Path(__file__).parents[2] / "pipelines"


def values(**means: list[float]) -> dict[str, dict[str, list[float]]]:
    return {mix: {"web": seeds, "code": [2 * seed for seed in seeds], "mean": [1.5 * seed for seed in seeds]} for mix, seeds in means.items()}


def test_a_pair_is_decided_only_when_its_difference_is_beyond_the_spread_of_the_seeds() -> None:
    found = mixes.verdict(values(a=[2.0, 2.02, 1.98], b=[1.9, 1.91, 1.89]), "a", "b")
    assert found["better"] == "b" and found["difference"] == pytest.approx(-0.15) and found["lower"] == found["tasks"] == 2
    assert found["spread"] == pytest.approx(1.5 * ((0.02**2 + 0.01**2) / 2) ** 0.5)
    assert found["reach"] == pytest.approx(2.776445 * found["spread"] * (2 / 3) ** 0.5, rel=1e-5)  # Student's t, 4 degrees of freedom, 95 %
    assert mixes.verdict(values(a=[2.0, 2.2, 1.8], b=[1.9, 2.1, 1.7]), "a", "b")["better"] == "undecided"
    assert mixes.verdict(values(a=[1.9, 1.91, 1.89], b=[2.0, 2.02, 1.98]), "a", "b")["better"] == "a"


def test_the_table_has_a_row_a_task_and_a_row_a_pair() -> None:
    made = values(**{mix: [2.0 + i, 2.1 + i, 1.9 + i] for i, mix in enumerate(mixes.MIXES)})
    pairs = [mixes.verdict(made, "natural", "proposed")]
    text = mixes.markdown({"seeds": [1, 2, 3], "bits_per_byte": made, "pairs": pairs}).splitlines()
    assert text[2].startswith("| web | 2.0000 ± 0.1000 | 3.0000 ± 0.1000 |") and len({line.count("|") for line in text[:5]}) == 1
    assert text[-1] == "| proposed shares, repeated evenly against natural shares | +3.0000 | ± 0.3400 | 0 of 2 | natural shares |"
    alone: dict[str, Any] = {"seeds": [1], "bits_per_byte": {mix: {"web": [2.0], "mean": [2.0]} for mix in mixes.MIXES}, "pairs": []}
    assert mixes.markdown(alone).splitlines()[-1] == "| mean | 2.0000 | 2.0000 | 2.0000 | 2.0000 |"


def test_the_files_of_swarms_are_swarms_or_stages_that_the_trainer_accepts() -> None:
    from training.config import checked

    kinds = []
    for path in sorted((PIPELINES / "swarm").glob("*.yaml")):
        value = parse(path)
        if "stage" in value:
            checked(value, str(path))
            kinds.append(path.stem)
        else:
            checked(stage(read_yaml(path, Swarm), PIPELINES, "swarm/x/mixes/000"), str(path))
    assert kinds == ["compare", "proxy"]


def test_the_evaluation_sets_are_one_text_a_question_without_those_that_are_trained_on(kit: Path, tmp_path: Path) -> None:
    assert mixes.texts(tmp_path, kit)
    rows = manifests.read(tmp_path / mixes.EVALS).to_pylist()
    assert {row["source"] for row in rows} == {"gsm8k", "math500", "svamp", "humaneval", "mbpp", "mmlu"}
    assert len({row["key"] for row in rows}) == len(rows) > 3_000 and all(len(row["text"]) > 10 for row in rows)
    ids = {row["id"] for row in rows}
    assert "math500/math500-285" not in ids and "math500/math500-213" in ids  # the first is also in the pool's mathematics
    assert not mixes.texts(tmp_path, tmp_path / "no_kit")
