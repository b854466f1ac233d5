"""Formatting of Markdown tables."""

from train.evaluation.formatting import markdown_table


def test_a_table_of_cells_as_they_are() -> None:
    assert markdown_table(("name", "`n`"), [("a", 0), ("", "b"), ("c", "")]) == (
        "| name | `n` |\n| --- | --- |\n| a | 0 |\n| | b |\n| c | |\n"
    )


def test_a_table_without_rows() -> None:
    assert markdown_table(["one"], []) == "| one |\n| --- |\n"
