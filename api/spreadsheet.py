"""A table of coverage as a workbook: figures as numbers, words as words, nothing that a spreadsheet could take for a formula."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

COLUMNS = (("code", "代码", 12), ("name", "地区", 22), ("numerator", "分子", 11), ("denominator", "分母", 11))
SHARES = (("value", "值", 11), ("target", "目标", 11), ("gap", "差距", 11))
STATES = {True: "达标", False: "未达标", None: ""}
HIDDEN, NOTHING = "已隐藏", "无数据"


def workbook(title: str, facts: Sequence[tuple[str, str]], unit: str, rows: Sequence[dict[str, Any]]) -> bytes:
    """`rows` as the export names them; the second sheet says what they mean."""
    into = BytesIO()
    with xlsxwriter.Workbook(into, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        head = book.add_format({"bold": True, "bg_color": "#E6F0F5", "bottom": 1})
        share = book.add_format({"num_format": "0.0%" if unit == "%" else "0.00"})
        sheet = book.add_worksheet("数据")
        sheet.write_string(0, 0, title, book.add_format({"bold": True, "font_size": 14}))
        _heads(sheet, head)
        for at, row in enumerate(rows, 3):
            _write(sheet, at, row, share, numeric=unit != "%" and all(each["denominator"] is None for each in rows))
        sheet.freeze_panes(3, 2)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(2)
        _explain(book.add_worksheet("说明"), facts, head)
    return into.getvalue()


def _heads(sheet: Worksheet, head: Format) -> None:
    for at, (_, label, width) in enumerate((*COLUMNS, *SHARES, ("met", "是否达标", 11))):
        sheet.write_string(2, at, label, head)
        sheet.set_column(at, at, width)


def _write(sheet: Worksheet, at: int, row: dict[str, Any], share: Format, *, numeric: bool) -> None:
    """`numeric`: the indicator is a number; it has neither denominator nor value."""
    sheet.write_string(at, 0, row["code"])
    sheet.write_string(at, 1, row["name"])
    for column, name in ((2, "numerator"), (3, "denominator")):
        if row[name] is not None:
            sheet.write_number(at, column, row[name])
        elif row["suppressed"]:
            sheet.write_string(at, column, HIDDEN)
    for column, (name, _, _) in enumerate(SHARES, 4):
        if row[name] is not None:
            sheet.write_number(at, column, row[name], share)
    if row["value"] is None and not numeric:
        sheet.write_string(at, 4, HIDDEN if row["suppressed"] else NOTHING)
    sheet.write_string(at, 7, STATES[row["met"]])


def _explain(sheet: Worksheet, facts: Sequence[tuple[str, str]], head: Format) -> None:
    sheet.set_column(0, 0, 14)
    sheet.set_column(1, 1, 100)
    for at, (label, said) in enumerate(facts):
        sheet.write_string(at, 0, label, head)
        sheet.write_string(at, 1, said)
