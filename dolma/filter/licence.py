"""What the licence of a file asks of those who pass it on."""

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step
from dolma.text.licences import kind_of


@step(needs=("licence",), adds={"licence_kind": pa.string()}, version=1)
def tag_licence(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The kind of the licence in `licence`, an SPDX expression: permissive, weak_copyleft, copyleft, proprietary or unknown.

    Of alternatives (`A OR B`) the one that asks least counts, of parts (`A AND B`) the one that asks most; NULL is unknown. Source of the kinds of identifiers:
    see `dolma.text.licences`.
    """
    return append(batch, {"licence_kind": pa.array([kind_of(one) for one in batch.column("licence").to_pylist()], pa.string())})
