"""Render Matplotlib figures as inline SVG: with text as text, colours as CSS variables, and unique ids."""

import io
import re
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import Any

#: Placeholder colours for Matplotlib that are replaced by CSS variables. No other colour may be used.
INK, MUTED, GRID, SURFACE = "#010101", "#010102", "#010103", "#010104"
#: Placeholders for six hues of Okabe and Ito that colour-blind readers can distinguish; values in the style sheet.
SERIES = tuple(f"#01020{number}" for number in range(1, 7))
_VARIABLES = MappingProxyType(
    {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", SURFACE: "var(--surface)"}
    | {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}
)
_STYLE = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "fracture-edge",
        # The name of a model may contain a dollar sign.
        "text.parse_math": False,
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.4,
    }
)


def inline(
    name: str,
    title: str,
    size: tuple[float, float],
    plot: Callable[[Any], None],
    tips: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Render a figure as an ``<svg>`` element for an HTML page.

    Args:
        name: Prefix of all ids, unique on the page: a letter, then letters, digits and hyphens.
        title: Accessible title, read by screen readers.
        size: Width and height in inches; the page scales the figure.
        plot: Function that plots into the empty figure.
        tips: Tooltips by the gid of an artist.

    Returns:
        The element; equal input gives equal text.
    """
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(dict(_STYLE), after_reset=True):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(stream.getvalue(), name, title, tips)


def _for_page(text: str, name: str, title: str, tips: Mapping[str, str]) -> str:
    box = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    for gid, tip in tips.items():
        body = body.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(tip)}</title>')
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    # Use the font of the page: Matplotlib writes `font-family` or, before 3.11, the shorthand `font`.
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    body = re.sub(r"font: ([^\"';]*px)[^\";]*", r"font: \1 var(--font)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    heading = f'<title id="{name}-title">{escape(title)}</title>'
    start = f'<svg role="img" aria-labelledby="{name}-title" viewBox="{box[1] if box else ""}">'
    return f"{start}{heading}{body.rstrip()}"
