"""Text summary of an audit."""

from collections.abc import Iterator
from typing import Any

_EXAMPLES = 5
#: Fractures this many times as common next to a fracture as overall show that neighbouring files are related.
_PATIENT_RATIO = 1.5


def summary(report: dict[str, Any]) -> str:
    """Format the findings of `train.data.audit.audit`, most important first within each part."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    share = report["fractured"] / report["images"]
    yield f"{report['root']} ({report['layout']})"
    yield (
        f"  {report['images']} images: {report['fractured']} fractured ({share:.1%}), "
        f"{report['not_fractured']} not fractured"
    )
    yield from (f"  note: {note}" for note in report["notes"])
    yield from (f"  left out: {line}" for line in report["left_out"])
    yield from _files(report)
    yield from _copies(report)
    yield from _belonging(report)
    yield from _leaks(report)
    yield from _shortcuts(report)


def _files(report: dict[str, Any]) -> Iterator[str]:
    bad, other = report["unreadable"], report["not_supported"]
    yield ""
    yield "Files"
    if other["files"]:
        yield (
            f"  {len(other['files'])} of a kind that is not read here: {other['fractured']} fractured, "
            f"{other['not_fractured']} not; `data split` leaves them out"
        )
        for detail, count in list(other["by_detail"].items())[:_EXAMPLES]:
            yield f"    {count}: {detail}"
    if not bad["files"]:
        yield "  all others can be read" if other["files"] else "  all can be read"
        return
    kinds = ", ".join(f"{count} {status}" for status, count in bad["by_status"].items())
    yield f"  {kinds}: {bad['fractured']} fractured, {bad['not_fractured']} not; `data split` leaves them out"
    if not (bad["fractured"] and bad["not_fractured"]):
        yield "  all of one class: the damage itself would reveal the label"
    if flat := bad["lenient_flat_bottom"]:
        yield (
            f"  a lenient decoder would fill the bottom with flat grey: median {flat['median']:.0%} of the "
            f"height, up to {flat['largest']:.0%}"
        )


def _copies(report: dict[str, Any]) -> Iterator[str]:
    identical, near = report["identical"], report["near_identical_pairs"]
    yield ""
    yield "Copies"
    yield f"  {identical['groups']} groups of pixel-identical images ({identical['files']} files)"
    yield f"  {len(near)} near-identical pairs"
    conflicts = report["conflicting_labels"]
    yield f"  {len(conflicts)} images whose copies have different labels" + (":" if conflicts else "")
    for conflict in conflicts[: 2 * _EXAMPLES]:
        yield f"    fractured: {_names(conflict['fractured'])}; not: {_names(conflict['not_fractured'])}"


def _belonging(report: dict[str, Any]) -> Iterator[str]:
    groups = report["groups"]
    yield ""
    yield "Groups of related images"
    joined = ", ".join(groups["joined_by"]) or "nothing"
    yield f"  {groups['count']} groups, the largest of {groups['largest']} images (joined by: {joined})"
    if sources := groups["derived_from"]:
        yield (
            f"  by their names, the {report['images']} files are derived from {sources['by_name']} X-rays, "
            f"{sources['after_joining_copies']} when copies are merged"
        )
        for names in sources["same_picture"][:_EXAMPLES]:
            yield f"    one X-ray under several names: {_names(names)}"
    if not report["patient_id"]:
        yield "  no patient id in the metadata"
    if neighbours := report["neighbours"]:
        after = neighbours["share_fractured_after_fractured"]
        steps = ", ".join(f"{value:.2f} at +{lag}" for lag, value in after.items() if value is not None)
        overall = neighbours["share_fractured"]
        yield f"  P(fractured) is {overall:.2f}; by file number, after a fractured image: {steps}"
        if (after["1"] or 0) > _PATIENT_RATIO * overall:
            yield "  neighbouring files are views of one patient: a random split of images would leak"


def _leaks(report: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "Leaks between splits"
    if report["leaks"] is None:
        yield "  no splits here; give --splits to check a split file"
        return
    for split, part in report["leaks"].items():
        same = part["identical_to_train"]
        negatives = part["images"] - part["fractured"]
        leaked = part["images_with_group_in_train"]
        yield f"  {split}: {leaked} of {part['images']} images have their group in train"
        yield (
            f"    pixel-identical to a training image: {same['fractured']} of {part['fractured']} fractured, "
            f"{same['not_fractured']} of {negatives} not"
        )
    yield (
        "  LEAKING: related images are in two splits; metrics on them measure memorisation"
        if report["leaking"]
        else "  no leak found"
    )


def _shortcuts(report: dict[str, Any]) -> Iterator[str]:
    shortcuts = report["shortcuts"]
    yield ""
    yield "Shortcuts (predicting the label without looking at bone)"
    for row in shortcuts["metadata"]:
        yield (
            f"  {row['flag']}: {row['fractured']} of {row['images']} images with it are fractured, "
            f"{row['fractured_without']} of {row['images_without']} without"
        )
    names = {
        "trivial_features": "size, brightness, contrast, black and white alone",
        "nearest_neighbour": "nearest neighbour on 16x16 pixels",
    }
    for key, name in names.items():
        if values := shortcuts.get(key):
            line = f"  {name}: AUROC {values['grouped_auroc']:.2f}"
            line += f", balanced accuracy {values['grouped_balanced_accuracy']:.2f} over grouped folds"
            yield line
            if "own_split_accuracy" in values:
                yield f"    but accuracy {values['own_split_accuracy']:.1%} on the folder's own test split"


def _names(paths: list[str]) -> str:
    more = f" and {len(paths) - _EXAMPLES} more" if len(paths) > _EXAMPLES else ""
    return ", ".join(paths[:_EXAMPLES]) + more
