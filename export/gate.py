"""Gate: compare an exported file, run by its own runtime, with the Keras model that it was exported from.

Two questions are asked of two sets of images:

- Does the file follow its source? `fidelity` on the validation images and many training images outside the
  calibration. With the 59 fractured validation images alone, the sensitivity of a faithful file is a matter of
  luck: a single one of them is 1.7 %.
- Is it as good? `compare` on the validation images, which the network has not seen (unless it was trained with
  ``--final``, on all images: then both questions are about fidelity).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from train.evaluation.metrics import proportions
from train.evaluation.paired import compare_pairs
from train.export_record import Fidelity, GateMetrics

Floats = npt.NDArray[np.floating[Any]]
#: Version of the gate: 1 asked both questions of the validation images alone; until 2 a compressed network was
#: refused for any loss of sensitivity above 0.02, significant or not.
GATE_VERSION = 3
#: Number of training images for `fidelity`.
FIDELITY_IMAGES = 1000
#: Distance of log-odds from the threshold, in standard deviations of Keras's log-odds, from which another decision
#: is more than a tie that has been broken the other way.
FAR = 0.15
#: Distance of probabilities from 0 and 1 in log-odds: half a step of a probability in 8 bits. What is beyond is no
#: difference that a decision could depend on.
_EDGE = 1 / 512
#: Number of bootstrap resamples for the reported intervals; the bounds of the gate apply to the changes
#: themselves.
RESAMPLES = 1000


def compare(
    labels: Sequence[int],
    groups: Sequence[str],
    reference: Floats,
    exported: Floats,
    threshold: float,
    *,
    resamples: int = RESAMPLES,
) -> GateMetrics:
    """Compare the predictions of the Keras model and an exported file on the same labelled images.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group name of each image, [N]; images that belong together share one, and the bootstrap resamples
            groups.
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the exported file, [N].
        threshold: Frozen threshold on P(fractured).
        resamples: Number of resamples of the paired bootstrap.

    Returns:
        Metrics of both on the images, their differences and changes.
    """
    before, after = np.asarray(reference, np.float64), np.asarray(exported, np.float64)
    found = compare_pairs(labels, groups, before, after, threshold, resamples=resamples)
    keras, file = proportions(labels, before, threshold), proportions(labels, after, threshold)
    auroc, sensitivity = found.auroc_change, found.sensitivity_change
    return GateMetrics(
        images=len(labels),
        fractured=sum(labels),
        threshold=threshold,
        largest_difference=found.largest_difference,
        mean_difference=found.mean_difference,
        same_decision=found.agreement,
        sensitivity_keras=keras["recall"].value,
        sensitivity_exported=file["recall"].value,
        specificity_keras=keras["specificity"].value,
        specificity_exported=file["specificity"].value,
        auroc_keras=float(roc_auc_score(labels, before)),
        auroc_exported=float(roc_auc_score(labels, after)),
        auroc_change=auroc.value,
        sensitivity_change=sensitivity.value,
        intervals={
            "auroc_change": (auroc.low, auroc.high),
            "sensitivity_change": (sensitivity.low, sensitivity.high),
        },
    )


def fidelity(labels: Sequence[int], reference: Floats, exported: Floats, threshold: float) -> Fidelity:
    """Compare the predictions of the Keras model and an exported file image by image.

    Args:
        labels: Labels, 0 or 1, [N].
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the exported file, [N].
        threshold: Frozen threshold on P(fractured).
    """
    truth = np.asarray(labels) == 1
    before, after = np.asarray(reference, np.float64), np.asarray(exported, np.float64)
    wanted, found = before >= threshold, after >= threshold
    own = log_odds(before)
    spread = float(own.std())
    far = np.abs(own - log_odds(np.float64(threshold))) > FAR * spread
    difference = float((log_odds(after) - own).std())
    both = truth.any() and not truth.all()
    return Fidelity(
        images=len(truth),
        fractured=int(truth.sum()),
        mean_difference=float(np.abs(after - before).mean()),
        same_decision=float((wanted == found).mean()),
        far_flips=float(((wanted != found) & far).mean()),
        net_flips=float((found & ~wanted).mean() - (wanted & ~found).mean()),
        noise=difference / spread if spread > 0 else float(difference > 0),
        auroc_change=float(roc_auc_score(truth, after) - roc_auc_score(truth, before)) if both else 0.0,
        sensitivity_change=float(found[truth].mean() - wanted[truth].mean()) if truth.any() else 0.0,
    )


def log_odds(probabilities: Any) -> Any:
    """Compute log-odds of probabilities, which are first kept half a step of 8 bits away from 0 and 1."""
    return logit(np.clip(probabilities, _EDGE, 1 - _EDGE))
