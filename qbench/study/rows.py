"""The rows of a study's comparison: its quantizers, and the ablations around them."""

from qbench import registry
from qbench.study.names import checked
from qbench.study.row import Row, row_training
from qbench.study.schema import Component, QuantizerEntry, Study
from qbench.study.sentences import SettingError, SettingPath
from qbench.study.variants import base_row, variants

__all__ = ["Row", "study_rows"]

SEEDS = 2**32
"""Seeds are below it."""


def study_rows(study: Study) -> list[Row]:
    """The rows in the order of the study, ablations last.

    Raises:
        SettingError: A name, option, recipe or seed is refused, or two rows have one label.
    """
    rows: dict[str, Row] = {}
    for index, entry in enumerate(study.quantizers):
        _add(rows, _row(study, entry, ("quantizers", index)))
    named = list(rows.values())
    for index, ablation in enumerate(study.ablations):
        path: SettingPath = ("ablations", index)
        around = base_row(named, ablation.quantizer, (*path, "quantizer"))
        for row in variants(around, ablation, path):
            _add(rows, row)
    return list(rows.values())


def _add(rows: dict[str, Row], row: Row) -> None:
    if row.label in rows:
        raise SettingError(
            row.path,
            f"two rows have the label '{row.label}'; give each a 'label' of its own, and vary no "
            "value twice",
        )
    rows[row.label] = row


def _row(study: Study, entry: QuantizerEntry, path: SettingPath) -> Row:
    quantizer = checked(
        registry.quantizers, Component(name=entry.name, options=entry.options), path
    )
    activations = None
    if entry.activations is not None:
        place = (*path, "activations")
        activations = checked(registry.quantizers, entry.activations, place)
        if entry.name == "float":
            raise SettingError(place, "a float row quantizes no activations; leave this out")
        if activations == quantizer:
            activations = None
    if max(study.seeds) + entry.seed_offset >= SEEDS:
        raise SettingError(
            (*path, "seed_offset"),
            f"{entry.seed_offset} is too large; the largest seed of the study plus it must stay "
            f"below {SEEDS}",
        )
    label = entry.label or _label(quantizer, activations)
    training = row_training(study, entry, path)
    return Row(label, quantizer, activations, training, path, seed_offset=entry.seed_offset)


def _label(quantizer: Component, activations: Component | None) -> str:
    parts = (quantizer,) if activations is None else (quantizer, activations)
    return " + ".join(part.label for part in parts)
