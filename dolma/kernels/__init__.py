"""Loops over Arrow buffers, compiled by numba and kept on disk.

A process with one kernel spends most of its start in numba. Three things of that are left out here: SciPy's BLAS and cffi, where nobody has imported them yet
(.3 CPU s; no kernel multiplies matrices or calls C; a module of your own whose kernels do imports SciPy or cffi before it imports ours), the search for
cycles among what numba builds, at the start and at the end of the process (.25 CPU s), and the library of what can be compiled where a kept kernel is only
loaded (.1 CPU s).
"""

import atexit
import gc
import os
import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any


def _load(*names: str) -> None:
    """Import parts of numba, those that look for what we leave out among them: to them it is not installed."""
    out = [name for name in ("scipy", "cffi") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(out))  # type: ignore[arg-type]  # None: the import raises ImportError
    collecting = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            import_module(name)
    finally:
        for name in out:
            del sys.modules[name]
        gc.freeze()  # before the next collection, which would begin with all of it
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


def _spare() -> None:
    """Load our kept kernels without numba's library of functions for compilation: a compiler loads it itself, but numba does so for a kept kernel, too."""
    from numba.core.caching import Cache
    from numba.core.runtime.nrt import rtsys

    whole, load = Cache.load_overload, getattr(Cache, "_load_overload", None)
    if load is None:  # a numba that does it in another way
        return

    def load_overload(cache: Any, signature: Any, context: Any) -> Any:
        if not cache._py_func.__module__.startswith("dolma."):
            return whole(cache, signature, context)
        rtsys.initialize(context)  # what a kernel calls for memory
        if (kept := load(cache, signature, context)) is None:
            _load("numba.np.arraymath", "numba.core.typing.cffi_utils")
        return kept

    Cache.load_overload = load_overload


_load("numba")
_keep()
_spare()
atexit.register(gc.freeze)
