"""From web archives to filtered documents: our recipes against DataTrove's FineWeb recipe with a fast extractor in place of its own."""

from pathlib import Path

from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE
from benchmarks.web_datatrove import PATIENCE, SIZE, agree, flow, ours, prepare


def theirs(inputs: Path, out: Path) -> None:
    """With resiliparse's main text, in DataTrove's own sandbox."""
    from datatrove.pipeline.extractors.base import BaseExtractor

    class Resiliparse(BaseExtractor):
        """The main text as resiliparse gives it."""

        name = "resiliparse"

        def __init__(self) -> None:
            super().__init__(timeout=PATIENCE)

        def extract(self, text: str) -> str:
            from resiliparse.extract.html2text import extract_plain_text

            return extract_plain_text(text, main_content=True, preserve_formatting=True, alt_texts=False)

    flow(inputs, out, Resiliparse())


PAIR = Pair(
    name="web/datatrove-resiliparse",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    agree=agree,
    size=SIZE,
    note="As web/datatrove, but with resiliparse (main_content, preserve_formatting, no alt texts) in DataTrove's sandbox in place of Trafilatura: the "
    "extractor that ours begins with, too, so the difference is what surrounds it.",
)
