"""Table of the operating points of a model, evaluated on the predictions of a benchmark."""

from collections import Counter
from collections.abc import Iterable, Mapping

from fracture_edge.policy import Decision, Policy
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import wilson


def table_of(policies: Mapping[str, Policy], predictions: Iterable[tuple[int, float]]) -> str:
    """Render the decisions of each operating point as a Markdown table.

    The images should not be those that the operating points were chosen on.

    Args:
        policies: Policies by name of the operating point.
        predictions: Label (1 for fractured) and P(fractured) of each image.

    Returns:
        Markdown table; proportions of the decided images have 95 % Wilson intervals.
    """
    images = list(predictions)
    header = (
        "`--policy`",
        "uncertain",
        "fractured: found, missed, uncertain",
        "sensitivity of the decided",
        "specificity of the decided",
    )
    lines = []
    for name, policy in policies.items():
        counts = Counter((label, policy.decide(probability)[0]) for label, probability in images)
        found, missed, left = (
            counts[1, each] for each in (Decision.FRACTURED, Decision.NOT_FRACTURED, Decision.UNCERTAIN)
        )
        cleared, alarms = counts[0, Decision.NOT_FRACTURED], counts[0, Decision.FRACTURED]
        share = (left + counts[0, Decision.UNCERTAIN]) / len(images)
        sensitivity, specificity = wilson(found, found + missed), wilson(cleared, cleared + alarms)
        counted = f"{found}, {missed}, {left}"
        lines.append((f"`{name}`", f"{share:.1%}", counted, interval(sensitivity), interval(specificity)))
    return markdown_table(header, lines)
