"""Shortcut tests: how well the label can be predicted without looking at bone, which a model must beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import fisher_exact
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train.data.dataset import ImageTable
from train.data.scan import THUMBNAIL, Scan

#: Names of the features of `Scan.trivial_features`.
TRIVIAL = ("width", "height", "mean", "deviation", "black", "white")
FOLDS = 5
_NEIGHBOUR_SIDE = 16
#: Criteria of a metadata shortcut: least number of images with and without the flag, least ratio of the shares of
#: fractured images, largest p value.
_LEAST_IMAGES, _LEAST_RATIO, _GREATEST_P = 20, 2.5, 1e-6


def trivial_shortcuts(table: ImageTable, scans: Sequence[Scan], *, seed: int = 0) -> dict[str, Any]:
    """Predict the label from size, brightness, contrast, black and white alone, and from 16x16 pixels.

    Args:
        table: Images with groups.
        scans: Scans of the images, one per row; unreadable images are left out.
        seed: Random seed of the folds and the random forest.

    Returns:
        For ``trivial_features`` (a random forest) and ``nearest_neighbour`` (on 16x16 pixels): AUROC and
        balanced accuracy over grouped folds, and, where the folder has its own train and test splits, the accuracy
        on that test split. Empty if a class has fewer groups than folds.
    """
    rows = [row for row, scan in enumerate(scans) if scan.ok]
    labels = np.array([table.items[row].label for row in rows])
    groups = np.array([table.items[row].group for row in rows])
    if any(len(set(groups[labels == label])) < FOLDS for label in (0, 1)):
        return {}
    splits = np.array([table.items[row].split for row in rows])
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups))
    features = np.array([scans[row].trivial_features for row in rows])
    nearest = make_pipeline(StandardScaler(), KNeighborsClassifier(1))
    return {
        name: _evaluate(model, values, labels, folds, splits)
        for name, model, values in (
            ("trivial_features", _forest(seed), features),
            ("nearest_neighbour", nearest, np.stack([_small(scans[row]) for row in rows])),
        )
    }


def trivial_scores(
    table: ImageTable, scans: Sequence[Scan], split: str, *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Predict P(fractured) from trivial features alone, with a random forest fitted on the training split.

    Args:
        table: Images with splits, all readable.
        scans: Scans of the images, one per row.
        split: Split to predict.
        seed: Random seed of the random forest.

    Returns:
        P(fractured) of the images of `split`, float64, in the table's order.
    """
    features = np.array([scan.trivial_features for scan in scans])
    splits = np.array([item.split for item in table])
    labels = np.array(table.labels)
    forest = _forest(seed).fit(features[splits == "train"], labels[splits == "train"])
    return np.asarray(forest.predict_proba(features[splits == split])[:, 1])


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(200, min_samples_leaf=3, random_state=seed, n_jobs=-1)


def _evaluate(
    model: Any, features: npt.NDArray[Any], labels: npt.NDArray[Any], folds: Any, splits: Any
) -> dict[str, Any]:
    scores = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")[:, 1]
    result: dict[str, Any] = {
        "grouped_auroc": float(roc_auc_score(labels, scores)),
        "grouped_balanced_accuracy": float(balanced_accuracy_score(labels, scores >= 0.5)),
    }
    train, test = splits == "train", splits == "test"
    if set(labels[train]) == {0, 1} and test.any():
        predicted = model.fit(features[train], labels[train]).predict(features[test])
        result["own_split_accuracy"] = float(accuracy_score(labels[test], predicted))
    return result


def _small(scan: Scan) -> npt.NDArray[np.float32]:
    thumbnail = np.asarray(scan.thumbnail).reshape(THUMBNAIL, THUMBNAIL)
    step = THUMBNAIL // _NEIGHBOUR_SIDE
    small: npt.NDArray[np.float32] = thumbnail.reshape(_NEIGHBOUR_SIDE, step, _NEIGHBOUR_SIDE, step).mean(
        axis=(1, 3)
    )
    return small.ravel()


def metadata_shortcuts(table: ImageTable) -> list[dict[str, Any]]:
    """Find metadata flags (0 or 1) that are associated with the label far beyond chance.

    Returns:
        For each flag: its name, the number of images with it and of fractured ones among them, the same for images
        without it, and the p value of Fisher's exact test; sorted by p.
    """
    found = []
    # Columns about the fracture itself restate the label.
    names = sorted({name for item in table for name in item.metadata if not name.startswith("fracture")})
    for name in names:
        with_flag = [item.label for item in table if item.metadata.get(name) == "1"]
        without = [item.label for item in table if item.metadata.get(name) == "0"]
        if min(len(with_flag), len(without)) < _LEAST_IMAGES:
            continue
        rates = sum(with_flag) / len(with_flag), sum(without) / len(without)
        counts = [[sum(labels), len(labels) - sum(labels)] for labels in (with_flag, without)]
        p = float(fisher_exact(counts).pvalue)
        if max(rates) >= _LEAST_RATIO * min(rates) and p < _GREATEST_P:
            found.append(
                {
                    "flag": name,
                    "images": len(with_flag),
                    "fractured": sum(with_flag),
                    "images_without": len(without),
                    "fractured_without": sum(without),
                    "p": p,
                }
            )
    return sorted(found, key=lambda row: row["p"])
