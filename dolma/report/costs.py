"""The report's section about cost: what each family of rules removed, and its share of the CPU seconds."""

from dolma.costs import BY_DATASET, BY_FAMILY, by_dataset, by_family
from dolma.report.blocks import data_table, details, missing, section
from dolma.report.figures import Figures


def costs(figures: Figures) -> str:
    """CPU seconds by dataset, and by family of rules inside each."""
    why = (
        "CPU seconds of the runs that made the datasets, child processes included. A family is a step with the rules that look at its columns: "
        "documents removed, their share of the documents that came in, and the share of the dataset's CPU seconds."
    )
    if not figures.costs:
        return section("costs", "Costs", why, missing("No run has measured its CPU seconds."))
    body = data_table(BY_DATASET, by_dataset(figures.known, figures.costs), mono=("dataset",))
    for name, spent in figures.costs.items():
        if any(family.removed for family in spent.families):
            body += details(f"{name} by family", data_table(BY_FAMILY, by_family(spent.families), wide=("reasons",)))
    return section("costs", "Costs", why, body)
