"""The command line: verbs, exit codes, what goes to stdout and what to stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dolma import cli, doctor
from dolma.core.errors import ConfigError, DataError, EnvironmentFault, Partial
from tests.built import build
from tests.engines.flow import write_env, write_raw, write_recipes
from tests.messages import parts

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with one env and a finished build; the commands run in it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pipelines/env").mkdir(parents=True)
    (folder / "pipelines/env/tiny.yaml").write_text("root: build/tiny\nraw: build/tiny/raw\n")
    build(folder / "build/tiny")
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_verbs_are_those_of_the_house(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    verbs = "gather fetch plan run stats sql inspect compare near mix swarm trace report publish verify steps doctor"
    for verb in verbs.split():
        assert f"\n    {verb} " in out


def test_stats_prints_the_funnel_to_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats"]) == 0
    got = capsys.readouterr()
    assert "documents in" in got.out and "exact_duplicate" in got.out and "cells of shard/pool" in got.out
    assert got.err == ""


@pytest.mark.parametrize(("form", "expected"), [("table", "  n\n---\n370\n"), ("csv", "n\n370\n"), ("json", '{"n": 370}\n')])
def test_sql_prints_each_form(here: Path, capsys: pytest.CaptureFixture[str], form: str, expected: str) -> None:
    query = "SELECT sum(rows)::BIGINT AS n FROM counts WHERE dataset = 'pool/unique' AND kind = 'dropped'"
    assert cli.main(["sql", query, "--format", form]) == 0
    assert capsys.readouterr().out == expected


def test_inspect_prints_rows_and_the_quarantine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "pool/documents", "-n", "1", "--where", "source = 'pdf'", "--columns", "id,source"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "source: pdf"
    assert cli.main(["inspect", "source/pdf/extract", "--quarantined"]) == 0
    assert "encrypted: a password is needed" in capsys.readouterr().out


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A flow that was run, as the options that name it."""
    folder = tmp_path_factory.mktemp("flow")
    pipelines, env = write_recipes(folder), write_env(folder)
    write_raw(folder, files=2, rows=60)
    assert cli.main(["run", "pool/first", "--env", str(env), "--pipelines", str(pipelines)]) == 0
    return ["--env", str(env), "--pipelines", str(pipelines)]


def test_inspect_prints_dropped_documents_with_their_rule(flow: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "pool/short", "--dropped", "long", "--limit", "2", "--width", "6", *flow]) == 0
    out = capsys.readouterr().out
    assert out.count("dropped as long by 1:keep where not (n_chars < 40)\nn_chars: 4") == 2 and out.count("... (4") == 2
    assert cli.main(["inspect", "pool/short", "--dropped", "long", "-n", "1", "--full", *flow]) == 0
    assert "text: a text number 0 and much more of it that goes on\n" in capsys.readouterr().out
    assert cli.main(["inspect", "pool/short", "--dropped", "long", "-n", "3", "--format", "json", *flow]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and {(row["dropped_as"], row["where"]) for row in rows} == {("long", "n_chars < 40")} and all(row["n_chars"] >= 40 for row in rows)
    assert cli.main(["inspect", "pool/short", "--dropped", "long", "--columns", "letter,id", "--format", "json", *flow]) == 0
    assert {tuple(json.loads(line)) for line in capsys.readouterr().out.splitlines()} == {("dropped_as", "where", "letter", "id")}
    assert cli.main(["inspect", "pool/short", "--dropped", "long", "--columns", "nosuch", *flow]) == 2
    assert "no column nosuch" in parts(capsys.readouterr().err)["what"]
    assert cli.main(["inspect", "pool/short", "--dropped", "short", *flow]) == 2
    assert "expected long" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--where", "true"], ["--columns", "id"], ["-n", "1"], ["--format", "json"], ["--full"], ["--width", "9"]])
def test_options_of_rows_are_not_of_the_quarantine(flow: list[str], capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert cli.main(["inspect", "pool/short", "--quarantined", *options, *flow]) == 2
    assert parts(capsys.readouterr().err)["where"] == "inspect"


@pytest.mark.parametrize("options", [["pool/short", "--save"], ["pool/short", "--limit", "0"], ["--save", "--limit", "1"]])
def test_options_of_what_if_are_refused_without_it(flow: list[str], capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert cli.main(["stats", *options, *flow]) == 2
    said = parts(capsys.readouterr().err)
    assert "without --what-if has no effect" in said["what"] and all(one in said["got"] for one in options if one.startswith("--"))


def test_stats_of_a_dataset_and_of_another_threshold(flow: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats", "pool/short", *flow]) == 0
    assert "% of CPU" in capsys.readouterr().out
    assert cli.main(["stats", "pool/short", "--what-if", *flow]) == 0
    assert "only it" in capsys.readouterr().out
    assert cli.main(["stats", "pool/short", "--what-if", "long: n_chars < 30", "--limit", "1", "--save", *flow]) == 0
    got = capsys.readouterr()
    assert "n_chars < 40 -> n_chars < 30" in got.out
    query = got.err.partition('dolma sql "')[2].partition('"')[0]
    assert cli.main(["sql", query, "--format", "json", *flow]) == 0
    assert {tuple(json.loads(line)["fails"]) for line in capsys.readouterr().out.splitlines()} == {(), ("long",)}
    assert cli.main(["stats", "--what-if", "long: n_chars < 30", *flow]) == 2
    assert "needs a dataset" in capsys.readouterr().err


def test_report_prints_where_it_is(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["report", "--out", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r.html")
    assert "<h1>dolma-flow: tiny</h1>" in (tmp_path / "r.html").read_text()
    assert cli.main(["report"]) == 0
    assert (here / "build/tiny/report.html").is_file()


def test_verify_names_what_is_broken_and_ends_with_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "pool/documents", "mix/pretrain"]) == 0
    assert cli.main(["verify", "shard/pool"]) == 3  # the built one has no shards on disk
    got = capsys.readouterr()
    assert "broken" in got.out
    assert "shard is missing" in got.err and got.err.count("mend:") == cli.MOST_ERRORS


def test_steps_describes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["steps", "keep"]) == 0
    out = capsys.readouterr().out
    assert "where" in out and "reason" in out and "required" in out
    assert cli.main(["steps", "kepp"]) == 2
    assert "did you mean `keep`?" in capsys.readouterr().err


def test_an_unknown_env_ends_with_2_and_a_near_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats", "--env", "tinny"]) == 2
    got = capsys.readouterr()
    assert got.out == "" and "did you mean" in got.err and "Traceback" not in got.err


def test_a_misspelt_key_of_an_env_ends_with_2(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("root: x\nraw: y\nworkerz: 3\n")
    assert cli.main(["stats", "--env", str(tmp_path / "e.yaml")]) == 2
    assert "did you mean `workers`?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["gather"], ["fetch", "commoncrawl", "--crawl", "CC-MAIN-2024-10", "--limit", "1"]])
def test_nothing_is_written_to_a_url(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "e.yaml").write_text("root: x\nraw: https://me:hunter2@example.org/raw\n")
    assert cli.main([*verb, "--env", str(tmp_path / "e.yaml")]) == 2
    said = capsys.readouterr().err
    assert "given from outside" in said and "hunter2" not in said and not (here / "https:").exists()


def test_an_empty_root_ends_with_3(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(f"root: {tmp_path / 'none'}\nraw: y\n")
    for verb in ("stats", "report", "verify"):
        assert cli.main([verb, "--env", str(tmp_path / "e.yaml")]) == 3
        assert "mend:" in capsys.readouterr().err


def test_doctor_ends_with_4_when_something_required_is_missing(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DOORS", (("no-such-package", "1", "web", "nothing"),))
    assert cli.main(["doctor"]) == 4
    got = capsys.readouterr()
    assert "pip install 'dolma-flow[web]'" in got.out
    assert "no-such-package" in got.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a", "b", mend="c"), 2),
        (DataError("a", "b", mend="c"), 3),
        (EnvironmentFault("a", "b", mend="c"), 4),
        (Partial("a", "b", mend="c"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_ends_with_its_code(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("dolma.stats.datasets", fail)
    assert cli.main(["stats"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_hidden(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma.stats.datasets", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["stats"])


def test_log_lines_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sql", "SELECT nope", "--log", "json"]) == 2
    assert json.loads(capsys.readouterr().err)["level"] == "error"


def _dolma(*arguments: str, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "dolma.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": str(PROJECT), "PATH": ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_broken_pipe_is_quiet(project: Path) -> None:
    with _dolma("sql", "SELECT * FROM range(300000)", "--format", "csv", folder=project) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"range\n"
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_the_command_starts_light(project: Path) -> None:
    program = (
        "import sys; from dolma import arguments, cli; arguments.parser(cli.VERBS); "
        "print([m for m in ('duckdb', 'numba', 'torch', 'pyspark', 'datatrove', 'streaming', 'composer', 'pymupdf', 'fasttext') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env={"PYTHONPATH": str(PROJECT), "PATH": ""}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
