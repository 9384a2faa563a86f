"""How often each cell is really repeated: the cap is set where rates are fitted, and the pool that the mix is drawn from has another size.

Rates are fitted on a sample of the pool and a small target. Scaled to the mix, the tokens of a cell grow with the target, and its tokens in the pool by
another factor, so its repeats change by their ratio: 1.233 in the published mix, where six cells pass the cap of 7 (spec of the mix, section 5).
"""

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError

COLUMNS = {"fitted": pa.float64(), "repeats": pa.float64(), "over": pa.bool_(), "excess": pa.int64()}
ROUNDING = 1e-9  # relative: repeats that equal the cap are not over it


def planned(rates: np.ndarray, fitted: np.ndarray, target: float) -> np.ndarray:
    """Tokens of each cell, shape (cells,), of a mix of `target` tokens with the shares that `rates` give on the `fitted` pool (tokens by cell)."""
    tokens = np.asarray(rates, np.float64) * np.asarray(fitted, np.float64)
    total = tokens.sum()
    if not (total > 0 and (tokens >= 0).all() and np.isfinite(total) and 0 <= target < np.inf):
        raise DataError(
            "ledger", "no shares of a mix", got=f"{total} tokens, target {target}", expected="finite, >= 0, some above 0", mend="mend the rates or the pool"
        )
    return tokens * (target / total)


def ledger(cells: pa.Table, tokens: np.ndarray, pool: np.ndarray, *, cap: float, rates: np.ndarray | None = None) -> pa.Table:
    """Fitted and real repeats of each cell.

    Args:
        cells: columns that name each cell (source, topic, vigintile, ...).
        tokens: those of each cell in the mix, shape (cells,).
        pool: those of each cell in the pool that the mix is drawn from.
        cap: most copies that were meant.
        rates: the fitted copies of each cell, where there are any.
    Returns:
        `cells` with `fitted` (NULL without rates), `repeats` (tokens / pool; 0 where both are), `over` (repeats above the cap) and `excess`: the tokens of
        the mix over cap x pool, rounded, 0 where the cell is not over.
    Raises:
        DataError: amounts that are negative, not finite or not one a cell; tokens of a cell that is not in the pool.
    """
    tokens, pool = np.asarray(tokens, np.float64), np.asarray(pool, np.float64)
    fitted = np.full(len(cells), np.nan) if rates is None else np.asarray(rates, np.float64)
    _check(cells, {"tokens": tokens, "pool": pool, **({} if rates is None else {"rates": fitted})})
    if (absent := np.flatnonzero((pool == 0) & (tokens > 0))).size:
        row = int(absent[0])
        raise DataError(f"ledger: {_name(cells, row)}", "is in the mix and not in the pool", got=f"{tokens[row]:,.0f} tokens", expected="0", mend="drop it")
    repeats = np.divide(tokens, pool, out=np.zeros(len(cells)), where=pool > 0)
    over = repeats > cap * (1 + ROUNDING)
    excess = np.where(over, np.rint(tokens - cap * pool), 0).astype(np.int64)
    made = (pa.array(fitted, mask=np.isnan(fitted)), pa.array(repeats), pa.array(over), pa.array(excess))
    for (name, kind), column in zip(COLUMNS.items(), made, strict=True):
        cells = cells.append_column(pa.field(name, kind), column)
    return cells


def explain(table: pa.Table, cap: float) -> str:
    """A ledger in a few lines: how far real repeats are from the fitted ones, which cells pass the cap, and by how much; ends without a newline."""
    fitted, repeats, over, excess = (table[name].to_numpy() for name in COLUMNS)
    lines = [f"{int(over.sum())} of {len(table)} cells are repeated more than {cap:g} times: {int(excess.sum()):,} tokens over."]
    if len(there := np.flatnonzero(fitted > 0)):
        ratio = repeats[there] / fitted[there]
        factor = f"{np.median(ratio):.3f} times the fitted ones ({ratio.min():.3f} to {ratio.max():.3f})"
        lines.append(f"Real repeats are {factor}: from the fit on, the tokens that are taken grew by that factor more than the pool.")
    cells = table.drop_columns(list(COLUMNS))
    for row in sorted(np.flatnonzero(over), key=lambda row: (-repeats[row], row)):
        before = f"fitted {fitted[row]:.3f}, " if fitted[row] == fitted[row] else ""
        lines.append(f"- {_name(cells, int(row))}: {before}real {repeats[row]:.3f}, {int(excess[row]):,} tokens over")
    return "\n".join(lines)


def _check(cells: pa.Table, columns: dict[str, np.ndarray]) -> None:
    for name, values in columns.items():
        if values.shape != (len(cells),) or not ((values >= 0) & np.isfinite(values)).all():
            got = f"shape {values.shape}, least {values.min(initial=np.inf):g}, most {values.max(initial=-np.inf):g}"
            raise DataError(f"ledger: {name}", "one finite amount a cell is needed", got=got, expected=f"{len(cells)}, each >= 0", mend=f"mend `{name}`")


def _name(cells: pa.Table, row: int) -> str:
    return "/".join(str(column[row].as_py()) for column in cells.columns)
