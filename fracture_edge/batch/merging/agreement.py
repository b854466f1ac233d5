"""Check that records are of one model and one operating point."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fracture_edge.batch.records import REASON_CODE
from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import ReasonCode

#: Codes of the decisions that the probability makes, in the order of their probabilities.
_BY_PROBABILITY = (ReasonCode.BELOW_THRESHOLD, ReasonCode.WITHIN_BAND, ReasonCode.ABOVE_THRESHOLD)


class _Seen(NamedTuple):
    value: object
    part: Path


class Agreement:
    """Check over all records; the first that contradicts an earlier one raises an error.

    What cannot be seen in the records is not checked: an option `--any-image` or `--max-pixels` that no image of
    the part depended on.
    """

    def __init__(self) -> None:
        self._first: dict[str, _Seen] = {}
        self._ranges = {code: [math.inf, -math.inf] for code in _BY_PROBABILITY}

    def add(self, fields: Mapping[str, Any], part: Path) -> None:
        """Compare a record with the earlier ones.

        Raises:
            FractureEdgeError: It has other columns, or is of another model or threshold.
        """
        self._compare("columns", tuple(fields), part)
        self._compare("model", (fields["model"], fields["model_sha256"]), part)
        if not fields["decision"]:
            return
        self._compare("threshold", float(fields["threshold"]), part)
        code = fields.get(REASON_CODE)
        if code in self._ranges:
            found, probability = self._ranges[ReasonCode(code)], float(fields["probability"])
            found[:] = min(found[0], probability), max(found[1], probability)

    def finish(self) -> None:
        """Compare the uncertain bands, which only all records together show.

        Raises:
            FractureEdgeError: One probability has two decisions.
        """
        before, highest = None, -math.inf
        for code in _BY_PROBABILITY:
            low, high = self._ranges[code]
            if low <= highest:
                raise FractureEdgeError(
                    f"the parts have different uncertain bands: P(fractured) {low} is '{code}', and {highest} is "
                    f"'{before}'; classify all with the same --policy or --threshold"
                )
            if high > highest:
                before, highest = code, high

    def _compare(self, what: str, value: object, part: Path) -> None:
        first = self._first.setdefault(what, _Seen(value, part))
        if first.value != value:
            raise FractureEdgeError(
                f"{first.part} and {part} differ in {what}: {_words(first.value)} and {_words(value)}; they do "
                "not belong together"
            )


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
