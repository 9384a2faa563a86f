"""The language of a text with any fastText model: lid.176, GlotLID, OpenLID, or one of your own."""

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import append
from dolma.core.step import step
from dolma.text import fasttext
from dolma.text.fasttext_file import ModelFile


@step(needs=("text",), adds={"lang": pa.string(), "lang_score": pa.float32()}, packages=fasttext.DISTRIBUTIONS)
def tag_language_fasttext(batch: pa.RecordBatch, *, model: ModelFile, max_chars: int = 100_000) -> pa.RecordBatch:
    """The likeliest label of the model as `lang`, as the model writes it (`en`, `eng_Latn`), and its probability `lang_score`.

    The model sees the text as it stands, line breaks as blanks: no change of case or punctuation, as DataTrove and the Dolma toolkit give it to lid.176.
    A text without a letter is `und` with score 0, as with `tag_language`.

    Args:
        model: `{file: /models/lid.176.bin, sha256: ...}`.
        max_chars: characters that are looked at.
    """
    heads = pc.utf8_slice_codeunits(pc.fill_null(batch.column("text"), ""), 0, max_chars).to_pylist()
    found = list(fasttext.load(model.path).best(heads, fasttext.plain))
    langs = [one[0] if one else "und" for one in found]
    scores = [round(one[1], 4) if one else 0.0 for one in found]
    return append(batch, {"lang": pa.array(langs, pa.string()), "lang_score": pa.array(scores, pa.float32())})
