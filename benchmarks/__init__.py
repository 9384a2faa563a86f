"""Each figure of the README's performance table: one pair a file (ours, a named peer), measured on the same input in one run.

A file with a top-level `PAIR = Pair(...)` is a row of the table; `python -m benchmarks` finds it. Its functions also run in the peer's own
environment, so a pair imports at its top nothing but the standard library and this package's `pair`, `peers` and `corpus`.
"""
