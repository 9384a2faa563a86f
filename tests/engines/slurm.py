"""A stand-in for Slurm: `sbatch` runs the array's tasks of a real generated script one after another, in the foreground."""

from pathlib import Path

import pytest

SBATCH = """#!/bin/bash
script="${@: -1}"
array=$(grep -oE -- '--array=[0-9]+-[0-9]+' "$script" | head -1 | cut -d= -f2)
for n in $(seq ${array%-*} ${array#*-}); do
  SLURM_ARRAY_TASK_ID=$n SLURM_JOB_ID=1 SLURM_NODELIST=localhost bash "$script" >/dev/null 2>&1
done
echo "Submitted batch job 1"
"""
SRUN = """#!/bin/bash
while [[ "$1" == -* ]]; do [[ "$1" == -n ]] && shift; shift; done
exec "$@"
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `sbatch`, `srun` and `scontrol` first on PATH."""
    import os

    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scontrol": "#!/bin/bash\necho localhost\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(folder))
