"""Recipes: the hyper-parameters of a training run, read from TOML and checked key by key."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.data.augment import Augmentation
from train.recipes.tables import RecipeError, _assign, _convert, _toml_value, plain_values


@dataclass(frozen=True, slots=True)
class Phase:
    """Phase of training with one set of trainable layers.

    Attributes:
        epochs: Largest number of epochs; early stopping may end the phase before.
        learning_rate: Peak learning rate.
        schedule: ``constant``, or ``cosine`` down to 1 % of the peak at the last epoch.
        warmup_epochs: Number of epochs of linear increase before the peak.
        trainable: ``all`` layers, or only the ``head``, the layers behind the backbone.
        last_layers: Number of the backbone's last layers that are trained too with ``head``, see
            `train.architectures.set_trainable`.
    """

    epochs: int
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = 0
    trainable: Literal["all", "head"] = "all"
    last_layers: int = 0

    def __post_init__(self) -> None:
        _require("phases.epochs", self.epochs, self.epochs >= 1, "at least 1")
        rate = self.learning_rate
        _require("phases.learning_rate", rate, rate > 0 and math.isfinite(rate), "above 0")
        _require("phases.warmup_epochs", self.warmup_epochs, self.warmup_epochs >= 0, "at least 0")
        _require("phases.last_layers", self.last_layers, self.last_layers >= 0, "at least 0")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyper-parameters of a training run: everything beside data, seed and initial weights.

    Attributes:
        architecture: Name of the architecture, a key of `train.architectures.ARCHITECTURES`.
        preprocessing: Preprocessing of images to the model's input.
        phases: Phases of the training; each starts from the weights kept from the one before.
        weights: Default initial weights, see `train.weights.initialise`.
        batch_size: Number of images per step.
        optimizer: ``adam`` or ``adamw``.
        weight_decay: Weight decay of AdamW, applied to kernels only.
        label_smoothing: Label smoothing, as in `keras.losses.BinaryCrossentropy`.
        ema_momentum: Momentum of the moving average of the weights, which is evaluated and kept; 0 for none.
        class_balance: ``weights`` gives both classes the same total weight in the loss; ``none`` does not.
        localisation: Weight of the localisation loss, see `train.trainer.cell_loss`, used where the data set has
            boxes around fractures and the architecture has ``cells``; 0 switches it off.
        refit_norms: Whether batch norm statistics are recomputed after each epoch, without dropout or
            augmentation, see `train.trainer.batch_norm`.
        frozen_norms: Whether batch norms keep their initial statistics, scales and shifts.
        probe: Whether the head is initialised by linear probing, see `train.trainer.linear_probe`; for `edge`.
        patience: Number of epochs without a better `monitor` before a phase stops; 0 for no early stopping.
        monitor: Metric to select epochs by, ``val_auroc`` or ``val_loss``.
        keep: Weights of a phase that are kept: those of its ``best`` epoch by `monitor`, or of its ``last``.
        calibrate: Whether calibration, threshold and uncertain band are chosen on validation images; if not, the
            sigmoid is not calibrated and the threshold is 0.5, without a band.
        augmentation: Augmentation of training images.
        options: Further arguments of the architecture.
        classes: Names of folders, inside the class folders or these themselves, whose images are to be told apart
            by a further output ``classes``, see `train.evaluation.attributes`; none if empty.
        softmax: Where the softmax of `classes` is trained: ``beside`` the binary answer, on the features of the
            trained network, or ``in_place`` of it, with the network, see `train.evaluation.classes`.
    """

    architecture: str
    preprocessing: Preprocessing
    phases: tuple[Phase, ...]
    weights: str = "none"
    batch_size: int = 32
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    ema_momentum: float = 0.0
    class_balance: Literal["weights", "none"] = "weights"
    localisation: float = 0.0
    refit_norms: bool = False
    frozen_norms: bool = False
    probe: bool = False
    patience: int = 5
    monitor: Literal["val_auroc", "val_loss"] = "val_auroc"
    keep: Literal["best", "last"] = "best"
    calibrate: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    softmax: Literal["beside", "in_place"] = "beside"

    def __post_init__(self) -> None:
        if not self.phases:
            raise RecipeError("recipe.phases: must not be empty")
        _require("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _require("patience", self.patience, self.patience >= 0, "at least 0")
        _require("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _require("localisation", self.localisation, self.localisation >= 0, "at least 0")
        if self.classes and not 2 <= len(set(self.classes)) == len(self.classes):
            raise RecipeError("recipe.classes: must be at least two different names of folders")
        if self.softmax == "in_place" and not self.classes:
            raise RecipeError("recipe.softmax: 'in_place' needs recipe.classes, at least two names of folders")
        if self.frozen_norms and self.refit_norms:
            raise RecipeError("recipe.refit_norms: must be false where frozen_norms is true")
        _require("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1")
        _require("ema_momentum", self.ema_momentum, 0 <= self.ema_momentum < 1, "from 0 to below 1")

    @property
    def chooses_epochs(self) -> bool:
        """Whether validation images choose the epochs that are kept, or how many are trained."""
        return self.keep == "best" or self.patience > 0

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, for the training record."""
        values = dataclasses.asdict(self)
        if not self.classes:
            # Records of models without classes stay as they were, and interrupted runs can be resumed.
            del values["classes"]
        if self.softmax == "beside":
            del values["softmax"]
        return values


def _require(key: str, value: float, right: bool, wanted: str) -> None:
    if not right:
        raise RecipeError(f"recipe.{key}: must be {wanted}, not {value}")


def default_recipe(model: str, weights: str | None = None) -> str:
    """Return the name of the default recipe of a model.

    For ``edge`` it is that of the embedded model, ``deep``. That recipe initialises a new head and freezes the
    batch norms of pretrained weights. Weights that include a head, such as the embedded model's, therefore have
    ``finetune`` as default, and random weights ``corrected``.

    Args:
        model: Name of the architecture.
        weights: Initial weights; ``None`` for the recipe's own.
    """
    if model != "edge" or weights == "none":
        return "corrected"
    complete = weights is not None and (weights == "embedded" or weights.endswith((".keras", ".weights.h5")))
    return "finetune" if complete else "deep"


def load_recipe(model: str, name: str) -> Recipe:
    """Load a recipe that ships with the package, or from a TOML file.

    Args:
        model: Name of the architecture.
        name: Name of a shipped recipe, or the path of a ``.toml`` file.

    Raises:
        RecipeError: The recipe does not exist, cannot be read, is invalid, or is for another architecture.
    """
    if name.endswith(".toml"):
        source: Any = Path(name)
    else:
        source = resources.files("train.recipes") / f"{model}-{name}.toml"
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        if name.endswith(".toml"):
            raise RecipeError(f"{source}: {error.strerror}") from error
        raise RecipeError(
            f"no recipe '{name}' for '{model}'; must be one of: {', '.join(shipped_recipes())}"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source.name}: not UTF-8 text ({error})") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source.name}: {error}") from error
    try:
        recipe = recipe_of(values)
    except FractureEdgeError as error:
        raise RecipeError(f"{source.name}: {error}") from error
    if recipe.architecture != model:
        raise RecipeError(f"{source.name}: is for '{recipe.architecture}', not for '{model}'")
    return recipe


def shipped_recipes() -> list[str]:
    """List ``MODEL-RECIPE`` of every recipe that ships with the package, sorted."""
    names = (entry.name for entry in resources.files("train.recipes").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from plain values.

    Raises:
        RecipeError: A key is unknown or missing, or a value has the wrong type.
    """
    recipe: Recipe = _convert(dict(values), Recipe, "recipe")
    return recipe


def override(
    recipe: Recipe,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    image_size: int | None = None,
    settings: Sequence[str] = (),
) -> Recipe:
    """Return a copy of `recipe` with some values replaced.

    Args:
        recipe: Recipe to start from.
        epochs: Largest number of epochs of every phase.
        batch_size: Number of images per step.
        learning_rate: Learning rate of the first phase; those of later phases keep their ratio to it.
        image_size: Height and width of the input in pixels.
        settings: Settings ``key=value`` of any key of a recipe, the value as in TOML: ``augmentation.mixup=0.2``,
            ``phases.1.epochs=5`` (phases are counted from 0), ``optimizer="adamw"``; quotes may be left out.

    Raises:
        RecipeError: A key is unknown, or a value has the wrong type or is out of range.
    """
    values = plain_values(recipe)
    if epochs is not None:
        for phase in values["phases"]:
            phase["epochs"] = epochs
    for phase in values["phases"]:
        if learning_rate is not None:
            phase["learning_rate"] *= learning_rate / recipe.phases[0].learning_rate
    if batch_size is not None:
        values["batch_size"] = batch_size
    if image_size is not None:
        values["preprocessing"] |= {"height": image_size, "width": image_size}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"{setting}: expected key=value")
        _assign(values, key.strip(), _toml_value(text.strip()))
    return recipe_of(values)
