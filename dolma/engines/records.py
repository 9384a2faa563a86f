"""What finished units say of themselves, how it is written, and whether it still holds: engines are not believed, records are."""

import os
import shutil
from pathlib import Path

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.core.files import sha256, sync, sync_names, write_atomic
from dolma.core.manifest import File
from dolma.engines import cost
from dolma.engines.plan import Plan, Record, Unit


def record_path(plan: Plan, kind: str, unit: Unit) -> Path:
    """Where the record of a unit stands; those of the last pass stay, so that one damaged shard can be made again alone."""
    return Path(plan.folder) / ".records" / kind / f"{unit.name}.json"


def record(plan: Plan, kind: str, unit: Unit) -> Record | None:
    """The valid record of a unit: right task, and every file there with its bytes; else None."""
    try:
        found = Record.model_validate_json(record_path(plan, kind, unit).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if found.task != plan.task(kind, unit):
        return None
    for file in (*found.files, *found.assets, *found.quarantine):
        path = Path(plan.folder) / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            return None
    return found


def intact_record(plan: Plan, kind: str, unit: Unit) -> Record | None:
    """The record of a unit if the bytes of its files are still those it names: what an earlier attempt left is not believed unseen."""
    found = record(plan, kind, unit)
    if found is None or any(sha256(Path(plan.folder) / f.name) != f.sha256 for f in (*found.files, *found.assets, *found.quarantine)):
        record_path(plan, kind, unit).unlink(missing_ok=True)
        return None
    return found


def commit(plan: Plan, kind: str, unit: Unit, work: Path, made: Record) -> Record:
    """Bring the files of a unit from its workplace to their places, then write its record."""
    folder = Path(plan.folder)
    places = {name.split("/")[0] if name.split("/")[0] == unit.name else name for name in (f.name for f in (*made.files, *made.assets, *made.quarantine))}
    for place in sorted(places):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        sync(work / place)
        os.replace(work / place, target)
    for parent in sorted({(folder / place).parent for place in places}):  # a record must not outlive the name of its shard
        sync_names(parent)
    write_atomic(record_path(plan, kind, unit), manifest.canonical(made.model_dump()))
    cost.move(work, folder, kind, unit.name)
    return made


def whole(folder: Path, file: File, kind: str) -> Path:
    """The path of an intermediate file whose bytes are those of its record: one that was damaged since is found before it is read.

    Raises:
        DataError: it is gone, or its bytes are others.
    """
    path = folder / file.name
    got = sha256(path) if path.is_file() else "no file"
    if got != file.sha256:
        mend = f"run the same command again: only this unit of the pass {kind} is made anew"
        raise DataError(str(path), "an intermediate file differs from its record", got=got[:16], expected=file.sha256[:16], mend=mend)
    return path
