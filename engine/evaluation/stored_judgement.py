"""What was measured about a prior after it was exported, written into its bundle's card."""

from __future__ import annotations

import json
from pathlib import Path

from ..model.bundle import read_bundle, write_bundle_file
from .cross_likelihood import JudgedRow

JUDGED = "judged"  # key of the card's `validation`


def store_row(path: Path, row: JudgedRow, label: str | None = None) -> None:
    """Put a row of the cross-likelihood table into the card; graphs and hashes stay as they are.

    Its percentiles take the place of those measured in training: recordings that no training
    heard say better what is usual. The rows of a bundle with labels lie side by side under theirs.
    The bundle's own sha256 changes, and with it the manifests of later renders.
    """
    card, files, _ = read_bundle(path)
    fields = card.to_dict()
    if label is None:
        fields["validation"][JUDGED] = row
        fields["percentiles"] = row["percentiles"]
    else:
        fields["validation"].setdefault(JUDGED, {})[label] = row
        fields["percentiles_of_labels"][label] = row["percentiles"]
    files["card.json"] = json.dumps(fields, indent=1, sort_keys=True).encode()
    write_bundle_file(path, files)
