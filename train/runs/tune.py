"""Hyper-parameter search with Optuna (`fracture-edge tune`), in a resumable folder."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import optuna
import tomli_w
from matplotlib.ticker import NullFormatter

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from train.data.batches import fingerprint
from train.data.dataset import join_tables
from train.data.pixel_store import PixelStore
from train.data.splits import read_table_with_splits
from train.device import prepare
from train.evaluation.predictions import write_rows
from train.figure import COLOURS, saved_figure
from train.lock import exclusive_lock
from train.recipes.recipe import Recipe
from train.recipes.search_space import Range, apply, check_space
from train.recipes.tables import plain_values
from train.runs.options import RunOptions
from train.runs.run_folder import read_settings
from train.runs.train_model import run_settings
from train.trainer.callbacks import best_of
from train.trainer.train_once import train_once

_STUDY = "tune"
_SETTINGS = "settings"


class _Report(keras.callbacks.Callback):
    """Callback that reports the validation AUROC of every epoch to Optuna and prunes the trial if it says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self.trial = trial
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch += 1
        self.trial.report(float((logs or {})["val_auroc"]), self.epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def tune(
    recipe: Recipe, options: RunOptions, space: tuple[Range, ...], *, trials: int, baseline: bool = True
) -> Path:
    """Search `space` for the recipe with the greatest validation AUROC.

    The first trial is the recipe as it is. An interrupted search is continued with `RunOptions.resume`, and the
    interrupted trial is repeated. Test images are not used.

    Args:
        recipe: Recipe to start from; keys outside the space stay unchanged.
        options: Options of the run.
        space: Search space.
        trials: Total number of trials, those of earlier runs included.
        baseline: Whether the first trial is the recipe as it is.

    Returns:
        Path of ``artifacts/<model>-tune``, with ``study.db``, ``trials.csv``, ``trials.png`` and ``best.toml``, a
        recipe for ``fracture-edge train --recipe``.

    Raises:
        FractureEdgeError: Space, data, splits, weights or folder are invalid, or no trial completed.
    """
    check_space(space, recipe)
    folder = options.out / f"{recipe.architecture}-tune"
    if not (options.resume or options.force) and (folder / "study.db").exists():
        raise FractureEdgeError(f"{folder} holds a search: --resume continues it, --force starts over")
    if options.resume and not (folder / "study.db").exists():
        raise FractureEdgeError(f"{folder}: no search to resume; leave --resume out to start one")
    weights = recipe.weights if options.weights is None else options.weights
    with exclusive_lock(folder):
        device = prepare(options.precision, distribute=options.distribute)
        table = read_table_with_splits(options.data, options.splits, seed=options.seed)
        settings = run_settings(
            recipe,
            seed=options.seed,
            weights=weights,
            space=[repr(entry) for entry in space],
            data=fingerprint(table),
        )
        study = _study(folder, settings, options)
        if baseline and not study.trials:
            study.enqueue_trial({}, user_attrs={"recipe as it is": True})
        train_part, val_part = table.where("train"), table.where("val")
        store = PixelStore(join_tables(train_part, val_part), recipe.preprocessing)
        say(f"{len(train_part)} training, {len(val_part)} validation images; {device.name}, {device.precision}")

        failure: list[str] = []

        def objective(trial: optuna.Trial) -> float:
            nonlocal store
            as_it_is = trial.user_attrs.get("recipe as it is", False)
            chosen = recipe if as_it_is else apply({entry.key: entry.suggest(trial) for entry in space}, recipe)
            say(f"trial {trial.number + 1} of {trials}: {trial.params or 'the recipe as it is'}")
            if store.preprocessing != chosen.preprocessing:
                store = PixelStore(join_tables(train_part, val_part), chosen.preprocessing)
            place = folder / "trial"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            failure[:] = []
            try:
                outcome = train_once(
                    chosen,
                    store,
                    train_part,
                    val_part,
                    folder=place,
                    weights=weights,
                    seed=options.seed,
                    callbacks=[_Report(trial)],
                )
            except FractureEdgeError as error:
                failure.append(str(error))
                say(f"trial {trial.number + 1} failed: {error}")
                raise
            except KeyboardInterrupt:
                # Optuna counts it as failed; a resumed search must try it again.
                study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
                raise
            finally:
                shutil.rmtree(place, ignore_errors=True)
            best = best_of(outcome.history.rows, "val_auroc")
            return math.nan if best is None else float(best["val_auroc"])

        study.optimize(
            objective,
            n_trials=max(0, trials - len(_ended(study))),
            catch=(FractureEdgeError,),
            callbacks=[lambda study, _: _write(folder, study, recipe)],
        )
        _write(folder, study, recipe)
        if not study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
            raise FractureEdgeError(f"{folder}: no trial completed{': ' if failure else ''}{''.join(failure)}")
    return folder


def _study(folder: Path, settings: dict[str, Any], options: RunOptions) -> optuna.Study:
    """Open the search in `folder`, or create one."""
    if options.force and not options.resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name=_STUDY,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        load_if_exists=True,
    )
    # A sampler restarts from its seed in every process: a resumed search must not repeat the samples of the first.
    study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.trials))
    text = json.dumps(settings, sort_keys=True)
    if read_settings(study.user_attrs.get(_SETTINGS, text)) != json.loads(text):
        raise FractureEdgeError(
            f"{folder}: the search was started with another recipe, space, seed, weights or data"
        )
    study.set_user_attr(_SETTINGS, text)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        # The process that ran it is gone, for this one holds the lock.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    return study


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(states=states)


def _write(folder: Path, study: optuna.Study, recipe: Recipe) -> None:
    """Update the table of trials, the plot and the best recipe."""
    trials = study.get_trials()
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    rows = [
        (
            trial.number + 1,
            trial.state.name.lower(),
            f"{trial.value:.6f}" if trial.value is not None else "",
            len(trial.intermediate_values),
            round(trial.duration.total_seconds()) if trial.duration else "",
            *(trial.params.get(key, "") for key in keys),
        )
        for trial in trials
        if trial.state.is_finished()
    ]
    write_rows(folder / "trials.csv", ("trial", "state", "val_auroc", "epochs", "seconds", *keys), rows)
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if not complete:
        return
    best = study.best_trial
    chosen = apply(best.params, recipe)
    text = (
        f"# Trial {best.number + 1} of {len(trials)}: validation AUROC {best.value:.4f}, the best of the search.\n"
    )
    atomic_write_text(folder / "best.toml", text + tomli_w.dumps(plain_values(chosen)))
    _plot(folder / "trials.png", complete, keys, recipe.architecture)


def _plot(path: Path, trials: Sequence[optuna.trial.FrozenTrial], keys: Sequence[str], name: str) -> None:
    """Plot validation AUROC by trial, and against every hyper-parameter."""
    columns = min(4, len(keys) + 1)
    lines = math.ceil((len(keys) + 1) / columns)
    title = f"{name}: validation AUROC of {len(trials)} complete trials"
    with saved_figure(path, width=3.2 * columns, height=2.8 * lines, title=title) as figure:
        axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        values = [trial.value for trial in trials]
        axes[0].plot([trial.number + 1 for trial in trials], values, "o", color=COLOURS[0])
        axes[0].step(
            [trial.number + 1 for trial in trials],
            [max(values[: count + 1]) for count in range(len(values))],
            where="post",
            color=COLOURS[1],
            label="best so far",
        )
        axes[0].set(xlabel="trial", ylabel="validation AUROC")
        axes[0].legend(fontsize="small")
        for panel, key in zip(axes[1:], keys, strict=False):
            known = [trial for trial in trials if key in trial.params]
            panel.plot([str(trial.params[key]) if isinstance(trial.params[key], str) else trial.params[key]
                        for trial in known], [trial.value for trial in known], "o", color=COLOURS[0])  # fmt: skip
            panel.set(xlabel=key)
            if key.endswith("learning_rate"):
                panel.set_xscale("log")
                panel.xaxis.set_minor_formatter(NullFormatter())
        for panel in axes:
            panel.grid(alpha=0.3)
        for panel in axes[len(keys) + 1 :]:
            panel.remove()
