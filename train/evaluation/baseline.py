"""The baseline that every model must beat: size, brightness and contrast alone."""

from dataclasses import replace

from train.data.dataset import ImageTable
from train.data.shortcuts import trivial_scores
from train.data.splits import scan
from train.evaluation.metrics import Estimate, auroc
from train.evaluation.predictions import groups_of


def trivial_baseline(table: ImageTable, split: str) -> Estimate | None:
    """Compute the AUROC of size, brightness, contrast, black and white alone; ``None`` without training images."""
    if set(table.where("train").labels) != {0, 1}:
        return None
    # No other split is read: the test images stay unseen while a model is trained.
    seen = replace(table, items=tuple(item for item in table if item.split in ("train", split)))
    part = table.where(split)
    return auroc(part.labels, trivial_scores(seen, scan(seen), split), groups_of(part))
