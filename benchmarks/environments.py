"""A peer's virtual environment below `build/bench`, made once and again when its requirements change."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.pair import Peer
from dolma.core.errors import EnvironmentFault


def python_of(peer: Peer, work: Path) -> Path:
    """The interpreter that runs `peer`: the project's own, or that of the peer's environment, which is made when it is not there."""
    if not peer.packages:
        return Path(sys.executable)
    folder = work / peer.name
    done, wanted = folder / "requirements.json", json.dumps([sys.version, *peer.packages])
    python = folder / "bin" / "python"
    if not done.is_file() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True)
        _install(peer, python)
        done.write_text(wanted)
    there = [name for name in peer.absent if _imports(python, name)]
    if there:
        raise EnvironmentFault(
            peer.name, f"its environment holds {', '.join(there)}", got="importable", expected="absent", mend=f"delete {folder} and run again"
        )
    return python


def _install(peer: Peer, python: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise EnvironmentFault(peer.name, "uv makes its environment", got="no uv", expected="uv beside this Python", mend="run `make setup`")
    # as in the Makefile: a machine that gives pip its certificates gives them to uv, too
    certificates = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT", "")
    environment = {**os.environ, **({"SSL_CERT_FILE": certificates} if certificates else {})}
    command = [uv, "pip", "install", "--quiet", "--python", str(python), *peer.packages]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(
            peer.name, "its environment cannot be made", got=done.stderr[-2000:].strip(), expected="exit 0", mend="mend its packages, or the network"
        )


def _imports(python: Path, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def version_of(peer: Peer, python: Path) -> str:
    """The version that a row names."""
    if peer.version:
        return peer.version
    code = f"from importlib.metadata import version; print(version({(peer.distribution or peer.name)!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(peer.name, "it has no version", got=done.stderr[-300:].strip(), expected="an installed package", mend="set Peer.distribution")
    return done.stdout.strip()
