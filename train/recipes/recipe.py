"""Recipes: hyper-parameters as data, read from TOML and checked key by key."""

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
    """A stretch of training with one set of trainable layers.

    Attributes:
        epochs: Most epochs; early stopping may end it before.
        learning_rate: Peak learning rate.
        schedule: ``constant``, or ``cosine`` down to 1 % of the peak at the last epoch.
        warmup_epochs: Epochs of linear increase before the peak.
        trainable: ``all``, or ``head``: only what follows the backbone.
        last_layers: With ``head``: that many of the backbone's last layers too, see
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
class Distillation:
    """What a network learns from teachers, see `train.trainer.distillation`.

    Attributes:
        share: Of the teachers' answers in the targets, 0 to 1, the rest is the labels'; 0: there are no teachers.
        folds: How many teachers there are; each is trained on all training images but those of one fold.
        phases: Of a teacher; those of its student where there are none.
    """

    share: float = 0.0
    folds: int = 3
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        _require("distillation.share", self.share, 0 <= self.share <= 1, "from 0 to 1")
        _require("distillation.folds", self.folds, self.folds >= 2, "at least 2")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run beside data, seed and initial weights.

    Attributes:
        architecture: A key of `train.architectures.ARCHITECTURES`.
        preprocessing: How images become the model's input.
        phases: One after the other; the weights kept from one start the next.
        weights: Initial weights where none are asked for, see `train.weights.initialise`.
        batch_size: Images per step.
        optimizer: ``adam`` or ``adamw``.
        weight_decay: Of AdamW; kernels only.
        label_smoothing: As in `keras.losses.BinaryCrossentropy`.
        ema_momentum: Of the moving average of the weights that is evaluated and kept; 0 switches it off.
        class_balance: ``weights`` makes both classes count the same in the loss; ``none`` does not.
        localisation: Weight of the loss of `train.data.localisation`, used where the data marks fractures and the
            architecture has ``cells``; 0 switches it off.
        refit_norms: Whether the norms' statistics are taken anew, without dropout or augmentation, each epoch, see
            `train.trainer.batch_norm`.
        frozen_norms: Whether the norms keep the statistics, scales and shifts that they come with.
        probe: Whether the head starts as a logistic regression on the features of the initial weights, see
            `train.trainer.linear_probe`; for `edge`.
        patience: Epochs without a better `monitor` before a phase stops; 0: it never stops early.
        monitor: ``val_auroc`` or ``val_loss``.
        keep: Which weights of a phase are kept: of its ``best`` epoch by `monitor`, or of its ``last``.
        calibrate: Whether probability, threshold and uncertain band are settled on validation images; if not,
            the sigmoid stays as it is and the threshold is 0.5, without a band.
        augmentation: Of training images.
        distillation: From teachers.
        options: Further arguments of the architecture.
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
    distillation: Distillation = field(default_factory=Distillation)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.phases:
            raise RecipeError("recipe: there is no phase")
        _require("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _require("patience", self.patience, self.patience >= 0, "at least 0")
        _require("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _require("localisation", self.localisation, self.localisation >= 0, "at least 0")
        if self.frozen_norms and self.refit_norms:
            raise RecipeError("recipe.refit_norms: must be false where frozen_norms is true")
        _require("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1")
        _require("ema_momentum", self.ema_momentum, 0 <= self.ema_momentum < 1, "from 0 to below 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the training record."""
        return dataclasses.asdict(self)


def _require(key: str, value: float, right: bool, wanted: str) -> None:
    if not right:
        raise RecipeError(f"recipe.{key}: must be {wanted}, not {value}")


def default_recipe(model: str, weights: str | None = None) -> str:
    """Name of the recipe that is taken where none is asked for.

    For ``edge`` that of the embedded model, ``robust``. It makes a head of its own and keeps the norms of
    pretrained weights: a network that has its head already, such as the embedded model, gets ``finetune``, and
    random weights get ``corrected``.

    Args:
        model: Name of the architecture.
        weights: Initial weights that were asked for; ``None`` for the recipe's own.
    """
    if model != "edge" or weights == "none":
        return "corrected"
    whole = weights is not None and (weights == "embedded" or weights.endswith((".keras", ".weights.h5")))
    return "finetune" if whole else "robust"


def load_recipe(model: str, name: str) -> Recipe:
    """Load a recipe that ships with the package, or a TOML file of the user's own.

    Args:
        model: Name of the architecture.
        name: Name of a shipped recipe, or the path of a ``.toml`` file.

    Raises:
        RecipeError: It is not there, or something in it is wrong.
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
        raise RecipeError(f"no recipe '{name}' for '{model}'; there are {', '.join(shipped_recipes())}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source.name}: no UTF-8 text ({error})") from error
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
    """``MODEL-RECIPE`` of every recipe that ships with the package."""
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
    """`recipe` with single values replaced.

    Args:
        recipe: Where to start.
        epochs: Most epochs of every phase, of teachers too.
        batch_size: Images per step.
        learning_rate: Of the first phase; those of later phases keep their ratio to it.
        image_size: Rows and columns of the input.
        settings: ``key=value`` for any key of a recipe, the value as in TOML: ``augmentation.mixup=0.2``,
            ``phases.1.epochs=5`` (phases are counted from 0), ``optimizer="adamw"``; quotes may be left out.

    Raises:
        RecipeError: No such key, or a value of the wrong type.
    """
    values = plain_values(recipe)
    if epochs is not None:
        for phase in [*values["phases"], *values["distillation"]["phases"]]:
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
