"""Loops over Arrow buffers, compiled by numba and kept on disk.

A process with one kernel spends most of its start in numba. Two things of that are left out here: SciPy's BLAS and cffi, where nobody has imported them yet
(.3 CPU s; no kernel multiplies matrices or calls C; a module of your own whose kernels do imports SciPy or cffi before it imports ours), and the search for
cycles among what numba builds, at the start and at the end of the process (.25 CPU s).
"""

import atexit
import gc
import os
import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path


def _load() -> None:
    """Import numba with the parts that look for what we leave out: to them it is not installed."""
    out = [name for name in ("scipy", "cffi") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(out))  # type: ignore[arg-type]  # None: the import raises ImportError
    collecting = gc.isenabled()
    gc.disable()
    try:
        for name in ("numba.np.arraymath", "numba.core.typing.cffi_utils"):
            import_module(name)
    finally:
        for name in out:
            del sys.modules[name]
        if collecting:
            gc.enable()


def _cache() -> Path:
    """A folder of compiled kernels that all sources here stand in the name of: numba looks only at the file of a function, not at those it calls."""
    here = Path(__file__).parent
    sources = sha256(b"".join(path.read_bytes() for path in sorted(here.glob("*.py")))).hexdigest()
    return Path(os.environ.get("NUMBA_CACHE_DIR") or here / "__pycache__") / f"kernels-{sources[:16]}"


def _keep() -> None:
    """Let numba keep compiled kernels in `_cache()`; where that cannot be written it chooses a folder of the user's."""
    from numba.core import config

    try:
        _cache().mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    config.CACHE_DIR = str(_cache())


_load()
_keep()
gc.freeze()
atexit.register(gc.freeze)
