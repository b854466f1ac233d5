"""Audit of a data set: broken files, copies, conflicting labels, leaks between splits, shortcuts."""

import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from fracture_edge.errors import Status
from train.data.dataset import SPLITS, ImageTable
from train.data.grouping import Links, find_links, join, with_groups
from train.data.scan import Scan
from train.data.shortcuts import metadata_shortcuts, trivial_shortcuts

AUDIT_SCHEMA = 1
#: Statuses of files that are not damaged: another format, or a decoder that is not installed.
_NOT_DAMAGED = (Status.UNSUPPORTED_FORMAT, Status.DECODER_NOT_INSTALLED, Status.DICOM_NOT_INSTALLED)
#: Differences of file numbers over which labels are compared.
_LAGS = (1, 2, 3, 5, 10)


def audit(table: ImageTable, scans: Sequence[Scan], *, seed: int = 0) -> dict[str, Any]:
    """Audit a data set.

    Args:
        table: Images, with the folder's own splits or those of a split file, where there are any.
        scans: Scans of the images, one per row.
        seed: Random seed of the grouped folds that shortcuts are evaluated on.

    Returns:
        Plain values, ready for JSON. ``leaks`` is ``None`` if there are no splits; ``leaking`` is true if a group
        is in two splits.
    """
    links = find_links(table, scans)
    grouped = with_groups(table, links)
    leaks = _leaks(grouped, scans)
    return {
        "schema_version": AUDIT_SCHEMA,
        "root": str(table.root),
        "layout": table.layout,
        "images": len(table),
        "fractured": sum(table.labels),
        "not_fractured": len(table) - sum(table.labels),
        "positive_class": "fractured",
        "notes": list(table.notes),
        "left_out": list(table.left_out),
        "unreadable": _unreadable(table, scans),
        "not_supported": _not_supported(table, scans),
        "identical": _identical(table, links),
        "near_identical_pairs": [[table.items[a].path, table.items[b].path] for a, b in links.near],
        "conflicting_labels": _conflicts(table, links),
        "groups": _groups(grouped, links),
        "neighbours": _neighbours(table),
        "patient_id": any("patient" in name.lower() for item in table for name in item.metadata),
        "leaks": leaks,
        "leaking": _group_in_two_splits(grouped),
        "shortcuts": {
            "metadata": metadata_shortcuts(table),
            **trivial_shortcuts(grouped, scans, seed=seed),
        },
    }


def _unreadable(table: ImageTable, scans: Sequence[Scan]) -> dict[str, Any]:
    bad = [
        (item, scan)
        for item, scan in zip(table, scans, strict=True)
        if not scan.ok and scan.status not in _NOT_DAMAGED
    ]
    truncated = [item for item, scan in bad if scan.status is Status.TRUNCATED]
    blocks = [flat_bottom(table.file(item).read_bytes()) for item in truncated]
    return {
        "files": [{"path": item.path, "status": str(scan.status), "label": item.label} for item, scan in bad],
        "by_status": dict(Counter(str(scan.status) for _, scan in bad)),
        "fractured": sum(item.label for item, _ in bad),
        "not_fractured": sum(1 - item.label for item, _ in bad),
        "lenient_flat_bottom": {"median": median(blocks), "largest": max(blocks)} if blocks else None,
    }


def _not_supported(table: ImageTable, scans: Sequence[Scan]) -> dict[str, Any]:
    """List the files that are valid, as far as is known, but are not read by this installation."""
    files = [(item, scan) for item, scan in zip(table, scans, strict=True) if scan.status in _NOT_DAMAGED]
    return {
        "files": [{"path": item.path, "status": str(scan.status), "label": item.label} for item, scan in files],
        "by_detail": dict(Counter(scan.detail for _, scan in files)),
        "fractured": sum(item.label for item, _ in files),
        "not_fractured": sum(1 - item.label for item, _ in files),
    }


def flat_bottom(data: bytes) -> float:
    """Compute the share of the height that a lenient decoder fills with flat grey below a truncated image."""
    previous = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("L"))
    except OSError:
        return 1.0
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = previous
    # The last row of blocks may be partly decoded: a row counts as flat if over half of it has the fill colour.
    fill = np.median(pixels[-1])
    flat = (pixels == fill).mean(axis=1) > 0.5
    return float((len(flat) if flat.all() else np.argmin(flat[::-1])) / len(flat))


def _identical(table: ImageTable, links: Links) -> dict[str, Any]:
    components = join(len(table), links.identical).tolist()
    sizes = Counter(components)
    groups: dict[int, list[str]] = defaultdict(list)
    for component, item in zip(components, table, strict=True):
        if sizes[component] > 1:
            groups[component].append(item.path)
    return {
        "groups": len(groups),
        "files": sum(map(len, groups.values())),
        "paths": list(groups.values()),
    }


def _conflicts(table: ImageTable, links: Links) -> list[dict[str, list[str]]]:
    members: dict[int, list[int]] = defaultdict(list)
    for row, component in enumerate(join(len(table), links.copies).tolist()):
        members[component].append(row)
    conflicts = []
    for rows in members.values():
        items = [table.items[row] for row in rows]
        if len({item.label for item in items}) > 1:
            conflicts.append(
                {
                    "fractured": [item.path for item in items if item.label == 1],
                    "not_fractured": [item.path for item in items if item.label == 0],
                }
            )
    return conflicts


def _groups(grouped: ImageTable, links: Links) -> dict[str, Any]:
    sizes = Counter(item.group for item in grouped)
    reasons = ("identical", "near", "derived", "neighbours")
    return {
        "count": len(sizes),
        "largest": max(sizes.values()),
        "joined_by": [reason for reason in reasons if getattr(links, reason)],
        "derived_from": _sources(grouped, links) if links.derived else None,
    }


def _sources(table: ImageTable, links: Links) -> dict[str, Any]:
    """Count the X-rays that the file names are derived from, and list those that are copies of one X-ray."""
    by_name = join(len(table), links.derived)
    by_all = join(len(table), links.all)
    merged: dict[int, set[int]] = defaultdict(set)
    for name, group in zip(by_name.tolist(), by_all.tolist(), strict=True):
        merged[group].add(name)
    example = {name: table.items[row].path for row, name in reversed(list(enumerate(by_name.tolist())))}
    return {
        "by_name": len(set(by_name.tolist())),
        "after_joining_copies": len(merged),
        "same_picture": [sorted(example[name] for name in names) for names in merged.values() if len(names) > 1],
    }


def _neighbours(table: ImageTable) -> dict[str, Any] | None:
    """Estimate P(fractured at number i + lag | fractured at i).

    Far above the share of fractured images it shows that neighbouring files are views of one patient.
    """
    label_of: dict[int, int] = {}
    for item in table:
        digits = re.fullmatch(r"\D+(\d+)", PurePosixPath(item.path).stem)
        if digits:
            label_of[int(digits[1])] = item.label
    if len(label_of) < len(table):
        return None
    after = {}
    for lag in _LAGS:
        following = [label_of[n + lag] for n, label in label_of.items() if label and n + lag in label_of]
        after[str(lag)] = sum(following) / len(following) if following else None
    return {
        "share_fractured": sum(label_of.values()) / len(label_of),
        "share_fractured_after_fractured": after,
    }


def _group_in_two_splits(grouped: ImageTable) -> bool:
    split_of: dict[str, str] = {}
    return any(item.split and split_of.setdefault(item.group, item.split) != item.split for item in grouped)


def _leaks(grouped: ImageTable, scans: Sequence[Scan]) -> dict[str, Any] | None:
    if not any(item.split for item in grouped):
        return None
    train = [(item, scan) for item, scan in zip(grouped, scans, strict=True) if item.split == "train"]
    train_groups = {item.group for item, _ in train}
    train_pixels = {scan.pixels for _, scan in train if scan.ok}
    result = {}
    for split in SPLITS[1:]:
        part = [(item, scan) for item, scan in zip(grouped, scans, strict=True) if item.split == split]
        if part:
            result[split] = {
                "images": len(part),
                "images_with_group_in_train": sum(item.group in train_groups for item, _ in part),
                "identical_to_train": {
                    word: sum(scan.pixels in train_pixels for item, scan in part if item.label == label)
                    for label, word in ((1, "fractured"), (0, "not_fractured"))
                },
                "fractured": sum(item.label for item, _ in part),
            }
    return result
