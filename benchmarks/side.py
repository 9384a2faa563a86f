"""One side of a pair in a process of its own: `python -m benchmarks.side MODULE FUNCTION INPUTS OUT`. Peers' environments run it too."""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    module, function, inputs, out = sys.argv[1:]
    getattr(import_module(module), function)(Path(inputs), Path(out))
