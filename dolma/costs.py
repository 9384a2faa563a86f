"""What the rules of a dataset removed and what its steps cost, by family, as the published table has it: documents removed, % of pool, % of CPU.

The first unit of a process also pays for what its steps load and compile: on a thousand pages that is more than the work, on a million nothing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dolma.console import table
from dolma.core import counts as ledger
from dolma.core.manifest import Manifest
from dolma.engines import cost
from dolma.stats import entered

BY_DATASET = ("dataset", "rows in", "CPU s", "rows a CPU s", "costliest", "% of CPU", "units measured")
BY_FAMILY = ("family", "removed", "% of pool", "CPU s", "% of CPU", "reasons")


@dataclass(frozen=True)
class Family:
    """A step and the rules that look at its columns: documents removed, their share of those that came in (%), CPU seconds, their share (%)."""

    name: str
    removed: int
    of_pool: float
    cpu: float | None
    of_cpu: float | None
    reasons: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """The families of a dataset whose run measured its CPU seconds, and of how many of its units those seconds are."""

    families: list[Family]
    units: int
    of: int

    def rate(self, documents: int) -> float:
        """Documents a CPU second, where `documents` are those of all units: one that was not measured is taken for a mean one."""
        cpu = sum(family.cpu or 0.0 for family in self.families)
        return documents * self.units / self.of / cpu

    @property
    def share(self) -> str:
        """Such as `3 of 4`."""
        return f"{self.units:,} of {self.of:,}"


def families(root: Path, manifest: Manifest) -> list[Family]:
    """Documents that each family removed and the CPU seconds it took, in the order of the recipe.

    Which step belongs to which family stands in `run.jsonl` beside the manifest. CPU is None for all where nothing was measured: the dataset was made
    before runs measured, or that file is gone; each step is a family then.
    """
    line = cost.read(root / manifest.dataset, manifest.fingerprint) or {"families": {}, "measured": {}}
    cpu: Counter[str] = Counter()
    for unit in line["measured"].values():
        cpu.update(unit["cpu"])
    taken = {step: numbers for step, numbers in ledger.steps(manifest.counts).items() if "in" in numbers}
    seconds: Counter[str] = Counter()
    removed: dict[str, Counter[str]] = {}
    for step in dict.fromkeys([*taken, *cpu]):
        family = line["families"].get(step, step)
        seconds[family] += cpu[step]
        lost = {what.removeprefix("dropped."): n for what, n in taken.get(step, {}).items() if what.startswith(("dropped.", "quarantined"))}
        removed.setdefault(family, Counter()).update(lost)
    total, documents = sum(cpu.values()), entered(manifest)
    found = []
    for family, reasons in removed.items():
        spent = (seconds[family], 100 * seconds[family] / total if total else 0.0) if line["measured"] else (None, None)
        share = 100 * reasons.total() / documents if documents else 0.0
        found.append(Family(_plain(family, list(removed)), reasons.total(), share, *spent, dict(reasons)))
    return found


def _plain(label: str, labels: list[str]) -> str:
    """The name in a step's label, unless another step of the recipe has it too."""
    place, _, name = label.partition(":")
    return name if place.isdigit() and sum(other.partition(":")[2] == name for other in labels) == 1 else label


def measured(root: Path, known: dict[str, Manifest]) -> dict[str, Cost]:
    """What each dataset cost whose run measured its CPU seconds."""
    found = {name: _cost(root, manifest) for name, manifest in known.items() if manifest.format in ("parquet", "mds")}
    return {name: cost for name, cost in found.items() if cost}


def _cost(root: Path, manifest: Manifest) -> Cost | None:
    """What a dataset cost; None where no CPU second was measured."""
    found, line = families(root, manifest), cost.read(root / manifest.dataset, manifest.fingerprint)
    if not line or not any(family.cpu for family in found):
        return None
    return Cost(found, len(line["measured"]), line["units"])


def by_dataset(known: dict[str, Manifest], found: dict[str, Cost]) -> list[list[object]]:
    """A line a dataset with the columns BY_DATASET: its costliest family comes with its share in %; CPU seconds are those of the units measured."""
    rows: list[list[object]] = []
    for name, spent in found.items():
        cpu, most = sum(part.cpu or 0.0 for part in spent.families), max(spent.families, key=lambda part: part.cpu or 0.0)
        documents = entered(known[name])
        rows.append([name, documents, cpu, spent.rate(documents), most.name, most.of_cpu, spent.share])
    return rows


def by_family(found: list[Family]) -> list[list[object]]:
    """A line a family with the columns BY_FAMILY; its reasons, the largest first, each with the documents it removed."""
    rows: list[list[object]] = []
    for family in found:
        reasons = sorted(family.reasons.items(), key=lambda item: (-item[1], item[0]))
        rows.append([family.name, family.removed, family.of_pool, family.cpu, family.of_cpu, ", ".join(f"{name} {n:,}" for name, n in reasons)])
    return rows


def text(root: Path, manifest: Manifest) -> str:
    """The families of one dataset and their sum, for a terminal."""
    found, documents = families(root, manifest), entered(manifest)
    cpu = [family.cpu for family in found if family.cpu is not None]
    total = ["sum", sum(f.removed for f in found), sum(f.of_pool for f in found), sum(cpu) if cpu else None, 100.0 if cpu else None, ""]
    head = f"{manifest.dataset}: {documents:,} documents in, {manifest.rows:,} rows out"
    if documents and (spent := _cost(root, manifest)):
        part = "" if spent.units == spent.of else f" in the {spent.share} units that were measured"
        head += f", {sum(cpu):,.2f} CPU s{part}, {spent.rate(documents):,.0f} documents a CPU second"
    return f"{head}\n{table(BY_FAMILY, [*by_family(found), total], width=400)}"
