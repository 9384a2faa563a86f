"""Documents must have ids of their own: of those that share one, all but the first are tagged with its place, then quarantined."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import ERROR, TABLES, append, without
from dolma.core.step import Sizes, Taken, group_step, step

TAG = {**TABLES["tag"], "same_id": pa.string()}


def _rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(["key", "origin", "id", "file", "offset"])


def _sizes(params: object, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 120, out=taken.rows)  # key, origin, offset; id and file of up to some 90 bytes


@group_step(key=("key",), order=("file", "offset", "origin"), needs=("id", "key", "file", "offset"), rows=_rows, out=TAG, splittable=True, sizes=_sizes)
def mark_same_id(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """For each document but the first of a key (by file and offset): `same_id`, the first's id and place as `ID at FILE:OFFSET`.

    Equal ids have equal keys. Two ids may share a key by chance (63 bits: about 5 pairs among 10^10 documents); all tags go by key, so these are marked, too.
    """
    later = np.ones(batch.num_rows, bool)
    later[starts] = False
    of = np.repeat(starts, np.diff(np.append(starts, batch.num_rows)))[later]
    first = batch.take(pa.array(of))
    place = pc.binary_join_element_wise(
        pc.fill_null(first.column("file"), "?"), pc.fill_null(pc.cast(first.column("offset"), pa.string()), "?"), ":", null_handling="skip"
    )
    columns = [batch.column(name).filter(pa.array(later)) for name in ("origin", "key")]
    named = pc.binary_join_element_wise(pc.cast(first.column("id"), pa.string()), place, " at ")
    return pa.RecordBatch.from_arrays([*columns, named], schema=pa.schema(list(TAG.items())))


@step(needs=("same_id",), removes=("same_id",))
def refuse_same_id(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Quarantine the documents that `mark_same_id` marked; the reason names the document that has the id, the quarantine the place of this one."""
    named = batch.column("same_id")
    reason = pc.binary_join_element_wise("its id or key is taken by ", named, "")  # NULL stays NULL: no error
    return append(without(batch, "same_id"), {ERROR: reason})
