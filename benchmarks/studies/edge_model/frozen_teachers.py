"""Teachers from regressions on frozen features of several ImageNet networks, cross-fitted within training images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.console import say
from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.batches import load_pixels
from train.data.dataset import ImageTable
from train.evaluation.calibration import fit_calibration
from train.evaluation.predict import outputs
from train.trainer.distillation import TeacherPredictions
from train.trainer.linear_probe import STRENGTH, regress
from train.weights import initialise

Floats = npt.NDArray[np.float64]
SIZE = 288


@dataclass(frozen=True)
class FrozenTeachers:
    """Features of all images by each network, plain and mirrored."""

    labels: npt.NDArray[np.int64]
    features: dict[str, tuple[Any, Any]]

    @classmethod
    def of(cls, pool: ImageTable, weights: str, folder: Path) -> "FrozenTeachers":
        """Compute the features, or read them from `folder`."""
        features = {}
        for variant in ("lite0", "lite2"):
            cache = folder / f"features-{variant}.npz"
            if not cache.is_file():
                say(f"features of {variant}")
                keras.config.set_dtype_policy("float32")
                model = build("edge", SIZE, SIZE, variant=variant)
                initialise(model, weights.replace("lite0", variant))
                deep = _deep(model)
                pixels = load_pixels(pool, Preprocessing(SIZE, SIZE, "letterbox", "bicubic"))
                both = [outputs(deep, view).astype(np.float32) for view in (pixels, pixels[:, :, ::-1])]
                np.savez(cache, allow_pickle=False, plain=both[0], mirrored=both[1])
            held = np.load(cache)
            features[variant] = (held["plain"], held["mirrored"])
        return cls(np.array(pool.labels), features)

    def fitted(self, rows: Any, tested: Any) -> Floats:
        """Average the log-odds of regressions trained on `rows` for the images `tested`."""
        found = []
        for plain, mirrored in self.features.values():
            both = np.concatenate([plain[rows], mirrored[rows]]).astype(np.float64)
            kernel, bias = regress(
                both, np.tile(self.labels[rows], 2), balanced=True, strength=STRENGTH / both.shape[1]
            )
            found.append((plain[tested].astype(np.float64) + mirrored[tested]) @ kernel / 2 + bias)
        return np.asarray(np.mean(found, axis=0))

    def cross_fitted(self, rows: Any, numbers: Any) -> TeacherPredictions:
        """Return calibrated predictions for the images `rows`, each by regressions without its fold."""
        logits = np.zeros(len(rows))
        for fold in np.unique(numbers[rows]):
            held = numbers[rows] == fold
            logits[held] = self.fitted(rows[~held], rows[held])
        raw = 1 / (1 + np.exp(-logits))
        labels = self.labels[rows]
        calibration = fit_calibration(labels.tolist(), raw)
        from sklearn.metrics import roc_auc_score

        area = float(roc_auc_score(labels, raw))
        say(f"teachers: AUROC {area:.3f}")
        return TeacherPredictions(calibration(raw), area, 0.0)


def _deep(model: keras.Model) -> keras.Model:
    size = SIZE // 16
    maps = [model.get_layer("top_relu").output]
    maps += [
        layer.output for layer in model.layers if layer.name.endswith("_add") and layer.output.shape[1] <= size
    ]
    parts = [keras.ops.mean(x, axis=(1, 2)) for x in maps] + [keras.ops.max(x, axis=(1, 2)) for x in maps]
    return keras.Model(model.input, keras.ops.concatenate(parts, axis=-1))
