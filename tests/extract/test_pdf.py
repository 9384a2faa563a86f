import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.errors import EnvironmentFault
from dolma.extract.child import close_all
from dolma.extract.pdf import PdfProcess, extract_pdf
from dolma.gather.markup import Block
from dolma.gather.pdf import broken, document, pictures

BLOCKS = [Block("h", "Chapter one"), *[Block("p", f"Paragraph {n} has some words (in brackets) of its own.") for n in range(200)]]
ENGINES = ["pymupdf", "pdfium"]
SETTINGS = {"seconds": 30.0, "max_pages": 1000, "max_chars": 10**7}

# A child that does what the document says: it stands for engines that hang, crash or leak.
CHILD = """
import json, os, signal, sys, time
print('{"ready": true}', flush=True)
while line := sys.stdin.buffer.readline():
    size = json.loads(line)["size"]
    word = sys.stdin.buffer.read(size).decode()
    if word == "hang":
        time.sleep(1000)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "half":
        sys.stdout.write('{"status": "ok", "size": 99}\\nonly this')
        sys.stdout.flush()
        os._exit(0)
    text = f"{os.getpid()}"
    print(json.dumps({"status": "ok", "pages": 1, "failed": 0, "starts": [0], "size": len(text)}) + "\\n" + text, end="", flush=True)
"""


def batch(*contents: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"id": pa.array([f"d{n}" for n in range(len(contents))], pa.string()), "content": pa.array(list(contents), pa.large_binary())}
    )


def child(tmp_path: Path, code: str = CHILD, recycle: int = 100) -> PdfProcess:
    (tmp_path / "child.py").write_text(code)
    return PdfProcess("pdfium", memory_mb=1000, recycle=recycle, program=tmp_path / "child.py")


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_come_with_the_offsets_at_which_they_begin(engine):
    pytest.importorskip("pymupdf" if engine == "pymupdf" else "pypdfium2")
    made = extract_pdf.fn(batch(document("a", "Title", BLOCKS, 20)), engine=engine)
    (row,) = made.to_pylist()
    assert made.schema == extract_pdf.adds(extract_pdf.params(engine=engine), batch().schema)
    assert row["n_pages"] == len(row["page_starts"]) == 8 and row["n_pages_failed"] == 0 and row["engine"] == engine
    pages = [row["text"][a:b] for a, b in zip(row["page_starts"], [*row["page_starts"][1:], None], strict=True)]
    assert all(page.startswith(f"Title\n{number}\n") for number, page in enumerate(pages, 1))
    assert "Paragraph 199 has some words (in brackets) of its own." in pages[-1] and "Chapter one" in pages[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_unreadable_documents_are_errors_with_a_status(engine):
    pytest.importorskip("pymupdf" if engine == "pymupdf" else "pypdfium2")
    whole = document("a", "Title", BLOCKS, 20)
    contents = [whole, document("b", "Title", BLOCKS, 3, password="secret"), broken(whole), pictures("c", BLOCKS, 2), b"", b"no PDF at all", whole]
    made = extract_pdf.fn(batch(*contents), engine=engine)
    assert made.column("_error").to_pylist() == [None, "encrypted", "corrupt", None, "corrupt", "corrupt", None]
    assert made.column("text").to_pylist()[3] == "" and made.column("n_pages").to_pylist()[3] == 2
    assert made.column("digit_ratio").to_pylist()[3] is None and made.column("text")[0] == made.column("text")[6]


def test_caps_of_pages_and_characters_are_too_large():
    pytest.importorskip("pypdfium2")
    whole = batch(document("a", "Title", BLOCKS, 20))
    for caps in ({"max_pages": 7}, {"max_chars": 1000}):
        assert extract_pdf.fn(whole, engine="pdfium", **caps).column("_error").to_pylist() == ["too_large"]


def test_second_engine_reads_what_the_first_does_not(monkeypatch):
    asked = []

    def answer(status: str) -> object:
        class Fake:
            def read(self, content, **settings):
                asked.append(status)
                return ({"status": status, "pages": 1, "failed": 0, "starts": [0]}, "text") if status == "ok" else ({"status": status}, "")

        return Fake()

    def run(first: str, second: str) -> dict:
        asked.clear()
        monkeypatch.setattr("dolma.extract.pdf._process", lambda engine, *_: answer(first if engine == "pymupdf" else second))
        return extract_pdf.fn(batch(b"x"), engine="pymupdf", second="pdfium").to_pylist()[0]

    assert run("crashed", "ok")["engine"] == "pdfium" and asked == ["crashed", "ok"]
    assert run("timeout", "corrupt")["_error"] == "timeout"
    assert run("encrypted", "ok")["_error"] == "encrypted" and asked == ["encrypted"]
    assert run("ok", "crashed")["text"] == "text" and asked == ["ok"]


def test_hanging_crashing_and_cut_answers_cost_one_document_each(tmp_path):
    process = child(tmp_path)
    status = [process.read(word, **{**SETTINGS, "seconds": 1.0})[0]["status"] for word in (b"x", b"hang", b"x", b"crash", b"half", b"x")]
    process.close()
    assert status == ["ok", "timeout", "ok", "crashed", "crashed", "ok"]


def test_child_serves_many_documents_and_is_then_replaced(tmp_path):
    process = child(tmp_path, recycle=3)
    pids = [process.read(b"x", **SETTINGS)[1] for _ in range(7)]
    process.close()
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]


def test_content_larger_than_a_pipe_arrives_whole(tmp_path):
    code = CHILD.replace('text = f"{os.getpid()}"', "text = word[:3] + str(len(word))")
    process = child(tmp_path, code)
    assert process.read(b"abc" * 3_000_000, **SETTINGS)[1] == "abc9000000"
    process.close()


def test_engine_that_is_missing_or_does_not_start_is_no_fault_of_the_document(tmp_path):
    with pytest.raises(EnvironmentFault, match="pip install"):
        child(tmp_path, 'print(\'{"missing": "pypdfium2"}\')').read(b"x", **SETTINGS)
    with pytest.raises(EnvironmentFault, match="does not start"):
        child(tmp_path, "raise SystemExit(1)").read(b"x", **SETTINGS)


def test_memory_limit_ends_the_document_only():
    pytest.importorskip("pypdfium2")
    process = PdfProcess("pdfium", memory_mb=700, recycle=10)
    whole = document("a", "Title", BLOCKS, 3)
    status = [process.read(content, **SETTINGS)[0]["status"] for content in (whole, b"%PDF-1.4" + bytes(900 << 20), whole)]
    process.close()
    assert status[0] == status[2] == "ok" and status[1] in ("too_large", "crashed")


def test_child_ends_when_its_parent_is_killed(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from dolma.extract.pdf import PdfProcess\n"
            f"p = PdfProcess('pdfium', memory_mb=1000, recycle=9, program=Path({str(tmp_path / 'child.py')!r}))\n"
            f"print(p.read(b'x', **{SETTINGS!r})[1], flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child outlived its parent by 10 s")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.kit
@pytest.mark.parametrize("engine", ENGINES)
def test_kit_documents_have_the_status_that_the_index_tells(kit, engine):
    pytest.importorskip("pymupdf" if engine == "pymupdf" else "pypdfium2")
    names = [
        "olmocr__math_2503_04086",
        "made_encrypted_user_password",
        "OCRmyPDF__invalid",
        "made_image_only_3_pages",
        "grobid__0807.3577",
        "sample-files__libreoffice-writer-password",
        "made_truncated_40pct",
    ]
    made = extract_pdf.fn(batch(*[(kit / "pdf" / f"{name}.pdf").read_bytes() for name in names]), engine=engine).to_pylist()
    assert [row["_error"] for row in made] == [None, "encrypted", "corrupt", None, None, "encrypted", "corrupt"]
    assert made[3]["text"] == "" and made[4]["n_pages"] == 15 and 35_000 < len(made[4]["text"]) < 39_000


def teardown_module() -> None:
    close_all()
