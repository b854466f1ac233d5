"""Runs that are compared with the reference notebook, and the commands that train them."""

from dataclasses import dataclass
from types import MappingProxyType

_NOTEBOOK = "fracture-edge train {model} --recipe notebook --data notebook_set"
_CORRECTED = "fracture-edge train {model} --data fracatlas --splits benchmarks/results/fracatlas-splits.csv"


@dataclass(frozen=True, slots=True)
class Run:
    """Row of the comparison.

    Attributes:
        model: Name of the architecture.
        what: Recipe, data and split, in words.
        command: Command that trains the model.
        recipe: Name of the recipe that `what` begins with; empty if it begins otherwise.
    """

    model: str
    what: str
    command: str
    recipe: str = ""

    def described(self, recipe: str) -> str:
        """Return `what` of a run that was trained by another recipe, such as one that starts at random.

        Args:
            recipe: Name of the recipe.
        """
        if not self.recipe or recipe == self.recipe:
            return self.what
        return self.what.replace(f"`{self.recipe}`", f"`{recipe}`, not `{self.recipe}`,", 1)


#: Run that shows the effect of the split: trained for as many epochs as on the data set's own split.
LONG = "custom_cnn-notebook-grouped-long"


def _runs() -> dict[str, Run]:
    runs = {}
    for model in ("vgg16", "resnet50", "custom_cnn"):
        runs[f"{model}-notebook-own"] = Run(
            model, "`notebook` on notebook_set, its own leaking split", _NOTEBOOK.format(model=model), "notebook"
        )
        runs[f"{model}-notebook-grouped"] = Run(
            model,
            "`notebook` on notebook_set, grouped split",
            "fracture-edge data split notebook_set --out grouped.csv && "
            + _NOTEBOOK.format(model=model)
            + " --splits grouped.csv",
            "notebook",
        )
        if model == "custom_cnn":
            runs[LONG] = Run(
                model,
                "the same, never stopped early, the last epoch kept",
                _NOTEBOOK.format(model=model) + " --splits grouped.csv --set patience=0 --set keep=last",
            )
        runs[f"{model}-corrected"] = Run(
            model, "`corrected` on FracAtlas, grouped split", _CORRECTED.format(model=model), "corrected"
        )
    return runs


RUNS: MappingProxyType[str, Run] = MappingProxyType(_runs())
