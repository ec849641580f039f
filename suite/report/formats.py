"""The table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re

from markupsafe import Markup, escape

from suite.report.table import NONE, Entry, Table, published
from suite.report.units import MINUS

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    MINUS: r"$-$", "³": "$^3$", "\N{EN DASH}": "--", "[": "{[}", "]": "{]}", '"': "''",
}  # fmt: skip


_NAME = re.compile(r"`([\w./-]+)`")
"""A name in code, as reasons and claims have it."""


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands, names in code as such, on one line; signs that pdflatex has no glyph for become "?"."""
    parts = _NAME.split(" ".join(text.split()))
    return "".join(rf"\texttt{{{_plain_latex(part)}}}" if i % 2 else _plain_latex(part) for i, part in enumerate(parts))


def _plain_latex(text: str) -> str:
    return "".join(_LATEX.get(c, c if c.isascii() and c.isprintable() else "?") for c in text)


def markdown_escape(text: str) -> str:
    """Text that Markdown shows as it stands, names in code as such, on one line, also within a table."""
    parts = _NAME.split(" ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return "".join(f"`{part}`" if i % 2 else re.sub(r"([\\`*_\[\]|~$])", r"\\\1", part) for i, part in enumerate(parts))


def html_escape(text: str) -> Markup:
    """Text that a page shows as it stands, names in code as such."""
    return Markup(_NAME.sub(r"<code>\1</code>", str(escape(text))))


def to_markdown(table: Table) -> str:
    """A GitHub table for each block, then the footnotes, the remarks and the legend."""

    def show(entry: Entry) -> str:
        text = markdown_escape(entry.text) + (f" ± {entry.half}" if entry.half else "") + (f" → {entry.then}" if entry.then else "")
        text = f"**{text}**" if entry.bold else text
        return text + (f" <sup>{','.join(entry.marks)}</sup>" if entry.marks else "")

    def soft(row: list[Entry]) -> str:
        return _line([e.text if e.text == NONE else f"*{markdown_escape(e.text)}*" for e in row])

    heads = [markdown_escape(h.title) + (f" ({markdown_escape(h.unit)})" if h.unit else "") for h in table.heads]
    lines = [f"### {markdown_escape(table.caption)}", ""]
    for block in table.blocks:
        lines += [f"**{markdown_escape(block.title)}**", ""] if block.title else []
        lines += [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
        for row in block.rows:
            lines += [_line([show(e) for e in row]), *(soft(second) for second in published(row))]
        lines += [*map(soft, block.floors), ""]
    lines += [f"<sup>{letter}</sup> {markdown_escape(text)}  " for letter, text in table.notes.items()]
    lines += [""] if table.notes else []
    lines += [line for remark in table.remarks for line in (markdown_escape(remark), "")]
    return "\n".join([*lines, markdown_escape(table.legend), ""])


def _line(parts: list[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def to_latex(table: Table) -> str:
    r"""A `table*` to `\input`; needs the packages booktabs and graphicx only. It is scaled down where it is too wide."""

    def show(entry: Entry) -> str:
        text = latex_escape(entry.text)
        text = rf"\textbf{{{text}}}" if entry.bold else text
        text += rf"{{\scriptsize\,$\pm$\,{entry.half}}}" if entry.half else ""
        text += rf" $\rightarrow$ {entry.then}" if entry.then else ""
        return text + (rf"\textsuperscript{{{','.join(entry.marks)}}}" if entry.marks else "")

    body = [" & ".join(latex_escape(h.title) for h in table.heads) + r" \\"]
    body += [" & ".join(rf"\scriptsize {latex_escape(h.unit)}" if h.unit else "" for h in table.heads) + r" \\", r"\midrule"]
    for block in table.blocks:
        body += [rf"\multicolumn{{{len(table.heads)}}}{{l}}{{\textbf{{{latex_escape(block.title)}}}}} \\"] if block.title else []
        for row in block.rows:
            body += [" & ".join(show(e) for e in line) + r" \\" for line in (row, *published(row))]
        body += [r"\midrule"] if block.floors else []
        body += [" & ".join(show(e) for e in row) + r" \\" for row in block.floors]
    notes = [rf"\textsuperscript{{{letter}}} {latex_escape(text)}\par" for letter, text in table.notes.items()]
    notes += [rf"{latex_escape(remark)}\par" for remark in table.remarks]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}", r"\begin{table*}", r"\centering\small",
            rf"\caption{{{latex_escape(table.caption)}. {latex_escape(table.legend)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(table.heads) - 1)}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}}",
            *([r"\par\smallskip\raggedright\footnotesize", *notes] if notes else []), r"\end{table*}", "",
        ]
    )  # fmt: skip


def to_csv(table: Table) -> str:
    """One line per method, also where it does not apply, and per floor; base units (parameters, MACs, milliseconds, percent), full
    precision, empty where none."""
    floors = [row for block in table.blocks for row in block.floors]
    rows = [{key: value for entry in row for key, value in _data(entry).items()} for row in (*table.rows, *floors)] + table.unshown
    names = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def _data(entry: Entry) -> dict[str, object]:
    return entry.data | (entry.published.data if entry.published else {})


def _plain(value: object) -> object:
    if value is None:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value
