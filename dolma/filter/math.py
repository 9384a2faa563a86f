"""How much of a text is mathematics, as columns; nothing decided."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step


@step(needs=("text",), adds={"n_formulas": pa.int32(), "n_commands": pa.int32(), "math_ratio": pa.float32()}, version=1)
def tag_math(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Measure the LaTeX in each text: n_formulas (see `dolma.kernels.formulas` for what one is), n_commands (a backslash and two letters, also outside of
    formulas), math_ratio (characters in formulas over all; NULL for an empty text)."""
    from dolma.kernels.formulas import formulas
    from dolma.kernels.words import buffers

    made = formulas(*buffers(batch.column("text")))
    with np.errstate(invalid="ignore"):
        ratio = (made[:, 1] / made[:, 2]).astype(np.float32)
    columns = {
        "n_formulas": pa.array(made[:, 0].astype(np.int32)),
        "n_commands": pa.array(made[:, 3].astype(np.int32)),
        "math_ratio": pa.array(ratio, pa.float32(), from_pandas=True),
    }
    return append(batch, columns)
