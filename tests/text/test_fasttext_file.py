"""A model file is read only when it is whole and the one meant."""

from pathlib import Path

import pytest

from dolma.core.config import check
from dolma.core.errors import ConfigError, DataError
from dolma.text import fasttext
from dolma.text.fasttext_file import ModelFile
from tests.text.lid import pinned, train, train_small


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small models."""
    return train_small(tmp_path_factory.mktemp("lid"))


@pytest.mark.parametrize("name", ["lid.bin", "lid.ftz"])
def test_a_file_cut_anywhere_is_refused(small: Path, tmp_path: Path, name: str) -> None:
    whole = (small / name).read_bytes()
    cut = tmp_path / name
    for size in sorted({*range(0, len(whole), max(1, len(whole) // 150)), *range(200), len(whole) - 1}):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match="cannot read the classifier"):
            fasttext.load(str(cut))
    cut.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="cannot read the classifier"):
        fasttext.load(str(cut))
    cut.write_bytes(whole)
    assert fasttext.load(str(cut)).labels == ["de", "en", "zxx"]


def test_a_model_with_quantised_labels_is_whole(tmp_path: Path) -> None:
    rows = [(f"word{n} of {n}", f"l{n}") for n in range(300)]
    path = train(tmp_path / "many.ftz", rows, squeeze=True, qout=True, epoch=1, dim=4, bucket=400)
    assert len(fasttext.load(path).labels) == 300
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    with pytest.raises(DataError, match="cannot read the classifier"):
        fasttext.load(path)


def test_sizes_that_lie_are_refused(small: Path, tmp_path: Path) -> None:
    whole = bytearray((small / "lid.bin").read_bytes())
    for place, value in ((64, -1), (64, 1 << 30), (72, 0), (72, -5)):  # words and labels of the dictionary
        lie = whole.copy()
        lie[place : place + 4] = value.to_bytes(4, "little", signed=True)
        (tmp_path / "m").write_bytes(lie)
        with pytest.raises(DataError, match="cannot read the classifier"):
            fasttext.load(str(tmp_path / "m"))


def test_word_vectors_are_no_classifier(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the house of the river\n" * 50)
    with fasttext._silent(), fasttext._zeroed():
        fasttext._library().train_unsupervised(str(tmp_path / "words.txt"), dim=4, bucket=50, minCount=1, thread=1, epoch=1, verbose=0).save_model(
            str(tmp_path / "vectors.bin")
        )
    with pytest.raises(DataError, match="cannot read the classifier") as error:
        pinned(tmp_path / "vectors.bin")
    assert "no labels" in str(error.value)


def test_the_hash_says_which_model_is_meant(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="this is another file") as error:
        ModelFile(file=str(small / "lid.bin"), sha256="0" * 64)
    assert error.value.got == pinned(small / "lid.bin").sha256
    with pytest.raises(ConfigError, match="no absolute path"):
        ModelFile(file="models/lid.bin", sha256="0" * 64)
    with pytest.raises(ConfigError, match="sha256"):
        check({"file": str(small / "lid.bin"), "sha256": "lid"}, ModelFile, "model")
    monkeypatch.setenv("MODELS", str(small))
    assert ModelFile(file="$MODELS/lid.bin", sha256=pinned(small / "lid.bin").sha256).path == str(small / "lid.bin")
