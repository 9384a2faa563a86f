"""Runs a notebook in a fresh kernel of this interpreter, and gives what a reader would see."""

import json
import os
import sys
from base64 import b64decode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"

# Before the first cell: keep every figure, and note what of it cannot be read. After the last: print what was noted.
WATCH = """
import json as _json
import matplotlib.pyplot as _plt
_figures, _show = [], _plt.show
def _look():
    for figure in map(_plt.figure, _plt.get_fignums()):
        figure.canvas.draw()
        said = []
        for axes in (a for a in figure.axes if a.get_visible() and a.get_label() != "<colorbar>"):
            boxes = {}
            for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
                texts = [t for t in axis.get_ticklabels() if t.get_text() and axis.get_visible()]
                low, high = sorted(axis.get_view_interval())
                spans = sorted((t.get_window_extent().intervalx if name == "x" else t.get_window_extent().intervaly).tolist()
                               for t, at in zip(texts, axis.get_ticklocs()) if low <= at <= high)
                boxes[name] = sum(a[1] > b[0] + 1 for a, b in zip(spans, spans[1:]))
            said.append({"title": axes.get_title(loc="left") or axes.get_title(), "x": axes.get_xlabel(), "y": axes.get_ylabel(), "overlaps": boxes,
                         "lines": [line.get_xydata().tolist() for line in axes.lines], "bars": [p.get_width() for p in axes.patches if hasattr(p, "get_width")],
                         "ticks": [t.get_text() for t in axes.get_yticklabels()]})
        _figures.append(said)
_plt.show = lambda: (_look(), _show())[1]
"""
TELL = "print(_json.dumps(_figures, default=float))"


@dataclass
class Read:
    """What a notebook shows: text printed, pictures as arrays (rows, columns, channels), and of each figure its axes."""

    text: str
    pictures: list[np.ndarray]
    figures: list[list[dict[str, Any]]]

    def axes(self, title: str) -> dict[str, Any]:
        """The first pair of axes with this title."""
        return next(axes for figure in self.figures for axes in figure if axes["title"] == title)


def run(name: str, root: Path, folder: Path) -> Read:
    """Execute a notebook over the build at `root`; the kernel's files are below `folder`."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from matplotlib.image import imread
    from nbclient import NotebookClient

    spec = folder / "kernels" / "here"
    spec.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    code = nbformat.v4.new_code_cell
    book.cells = [code(WATCH), *book.cells, code(TELL)]
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="here", kernel_spec_manager=specs, transport="ipc", connection_file=str(folder / f"{name}.json"))
    client = NotebookClient(book, km=manager, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}})
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    client.execute(env={**os.environ, "DOLMA_ROOT": str(root), "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")})
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    told = book.cells[-1].outputs[0].text
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout").removesuffix(told)
    pictures = [imread(BytesIO(b64decode(output.data["image/png"]))) for output in outputs if "image/png" in output.get("data", {})]
    return Read(text, pictures, json.loads(told))
