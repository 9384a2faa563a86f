"""Loops over Arrow buffers, compiled by numba and kept on disk.

numba imports SciPy to look for BLAS: .3 of the .6 CPU s that a process with one kernel spends before its first row. No kernel multiplies matrices, so SciPy
stays out where nobody has imported it yet (numba's `np.dot` is then missing in that process; a module of your own that needs it imports SciPy first).
"""

import sys
from importlib import import_module

if "scipy" not in sys.modules:
    sys.modules["scipy"] = None  # type: ignore[assignment]  # an import of it raises ImportError, which numba expects
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy"]
