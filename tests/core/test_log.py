"""Log lines and the live line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dolma.core import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The package's logger as it was."""
    root = logging.getLogger("dolma")
    kept = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.propagate = kept[0], kept[2]
    root.setLevel(kept[1])


def test_lines_go_to_stderr_once_however_often_it_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    log.setup()
    log.logger("dolma.runner").info("made %d rows", 3)
    log.logger("mine").debug("not said")
    got = capsys.readouterr()
    assert got.err == "made 3 rows\n" and got.out == ""


def test_json_lines_are_json_whatever_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("json")
    log.logger("mine").warning('a "quote"\nand %s', "\u00e9")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["name"], line["message"]) == ("warning", "dolma.mine", 'a "quote"\nand \u00e9')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_live_line_that_is_wiped_and_a_file_gets_none() -> None:
    live, file = Terminal(), io.StringIO()
    for stream in (live, file):
        progress = log.Progress("source/web/filter", 4, stream)
        progress.advance(10, 2_000_000)
        progress.advance(5, 0)
        progress.close()
    assert live.getvalue().count("\r\x1b[K") == 3 and live.getvalue().endswith("\r\x1b[K")
    assert "source/web/filter 2/4  15 rows" in live.getvalue() and file.getvalue() == ""


def test_a_line_can_be_made_before_the_first_unit() -> None:
    assert log.Progress("x", 0, io.StringIO()).line().startswith("x 0/0  0 rows  0.0 MB/s  eta 0:00")
