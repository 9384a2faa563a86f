"""Languages by a fastText model that is trained here on half of the labelled paragraphs; a run with a model that is cut or changed reads no data."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.runner import Run
from dolma.tag.language_fasttext import tag_language_fasttext
from dolma.text import fasttext
from dolma.text.fasttext_file import ModelFile
from tests.text.lid import pinned, train, train_small


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small models."""
    return train_small(tmp_path_factory.mktemp("lid"))


def tagged(model: ModelFile, *texts: str | None, **settings: int) -> list[tuple[str, float]]:
    made = tag_language_fasttext(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]), model=model, **settings)
    assert made.schema.field("lang").type == pa.string() and made.schema.field("lang_score").type == pa.float32()
    return list(zip(made.column("lang").to_pylist(), made.column("lang_score").to_pylist(), strict=True))


@pytest.mark.parametrize("name", ["lid.bin", "lid.ftz"])
def test_languages_are_those_it_was_trained_on(small: Path, name: str) -> None:
    found = tagged(pinned(small / name), "the house\nof that river", "mit der Haus und Fluss", "mov eax 0x1f", "", None, "12 - 13", "\n")
    assert [lang for lang, _ in found] == ["en", "de", "zxx", "und", "und", "und", "und"]
    assert all(0.5 < score <= 1 for _, score in found[:3]) and all(score == 0 for _, score in found[3:])


def test_it_says_what_the_library_says(small: Path) -> None:
    model = fasttext._library().load_model(str(small / "lid.bin"))
    for text in ("The river; THE house!", "der  Haus\u00a0mit", "x"):
        ((probability, label),) = model.f.predict(text + "\n", 1, 0.0, "strict")
        ((lang, score),) = tagged(pinned(small / "lid.bin"), text)
        assert f"__label__{lang}" == label and score == pytest.approx(min(probability, 1), abs=1e-4)


def test_only_the_beginning_is_looked_at(small: Path) -> None:
    model = pinned(small / "lid.bin")
    assert tagged(model, "the house " + "und das Haus " * 50, max_chars=10) == tagged(model, "the house ")
    assert tagged(model, "the house " + "und das Haus " * 50)[0][0] == "de"


@pytest.fixture
def flow(tmp_path: Path, small: Path) -> tuple[Path, Path]:
    """A corpus of two texts, its recipe, and the copy of the model that the recipe names."""
    model = tmp_path / "lid.bin"
    model.write_bytes((small / "lid.bin").read_bytes())
    lines = [{"id": "a", "text": "that river and the house"}, {"id": "b", "text": "und das Haus mit der Fluss"}]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    step = {"tag_language_fasttext": {"model": pinned(model).model_dump()}}
    recipe = {
        "read": {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "text": "large_string"}}},
        "table": "rows",
        "steps": [step, {"keep": {"where": "lang = 'en' AND lang_score >= 0.65", "reason": "not_english"}}],
    }
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "lang.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "env.yaml").write_text(yaml.safe_dump({"root": str(tmp_path / "out"), "raw": str(tmp_path / "raw"), "workers": 1}))
    return tmp_path, model


def test_a_recipe_names_the_model_and_its_manifest_tells_it(flow: tuple[Path, Path]) -> None:
    place, model = flow
    assert Run(place / "env.yaml", place / "pipelines").run(["."]) == 1
    made = manifest.load(place / "out" / "lang")
    assert pinned(model).sha256 in json.dumps(made.recipe) and made.rows == 1
    assert any(name.endswith("dropped.not_english") and rows == 1 for name, rows in made.counts.items())


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_broken_model_stops_a_run_before_it_reads_data(flow: tuple[Path, Path], harm: str) -> None:
    place, model = flow
    content = model.read_bytes()
    if harm == "gone":
        model.unlink()
    else:
        model.write_bytes(content[:-100] if harm == "cut" else content[:-100] + b"\1" * 100)
    with pytest.raises(DataError, match=r"cannot read the classifier|this is another file") as error:
        Run(place / "env.yaml", place / "pipelines").run(["."])
    assert error.value.where == str(model) and not (place / "out").exists()


@pytest.mark.kit
@pytest.mark.parametrize("squeeze", [False, True])
def test_half_of_the_labelled_paragraphs_teach_the_other_half(kit: Path, tmp_path: Path, squeeze: bool) -> None:
    with gzip.open(kit / "langid" / "udhr_paragraphs.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [(row["text"].replace("\n", " "), row["lang"]) for row in map(json.loads, lines)]
    model = pinned(train(tmp_path / ("lid.ftz" if squeeze else "lid.bin"), rows[::2], squeeze))
    found = tagged(model, *(text for text, _ in rows[1::2]))
    right = sum(lang == label for (lang, _), (_, label) in zip(found, rows[1::2], strict=True))
    assert right / len(found) > 0.9
