"""The report as one HTML file: nothing in it asks for another file, and its policy forbids it."""

import base64
import dataclasses
import re
from collections.abc import Sequence
from html import escape as escaped

from jaxpeft.study.cells import Cell, Strip, Table, as_csv
from jaxpeft.study.palette import Figure
from jaxpeft.study.style import CSS

_PERCENT = re.compile(r"(\d) %")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading of the page, what follows it, and its parts."""

    anchor: str
    title: str
    text: str  # plain; empty for none
    parts: Sequence["Part"]


@dataclasses.dataclass(frozen=True)
class Part:
    """A table, or a figure, under a heading of its own or none; `folded` behind its title."""

    content: Table | Figure
    title: str = ""
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """What the page says, in its order."""

    name: str
    question: str
    answer: str
    caveats: list[str]
    tiles: list[tuple[str, str]]
    sections: list[Section]
    notes: list[str]
    facts: list[tuple[str, str]]
    command: str


def html(report: Report) -> str:
    """The whole page."""
    links = "".join(f'<li><a href="#{one.anchor}">{escape(one.title)}</a></li>' for one in report.sections)
    links += '<li><a href="#reading">How to read this</a></li>'
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in report.tiles)
    body = "\n".join(_section(one, report.command) for one in report.sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(report.name)}: study report</title>
<style>{CSS}</style>
</head>
<body>
<header>
<p class="eyebrow">Study</p>
<h1>{escape(report.name)}</h1>
{f'<p class="question">{escape(report.question)}</p>' if report.question else ""}
<p class="answer">{escape(report.answer)}</p>
{_list(report.caveats, "caveats")}
<dl class="tiles">{tiles}</dl>
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main>
{body}
<section id="reading" aria-labelledby="reading-title">
<h2 id="reading-title">How to read this</h2>
{_list(report.notes, "notes")}
{_facts(report.facts)}
</section>
</main>
<footer>
<p>Made by <code>{escape(report.command)}</code> from the runs’ own folders; no note’s text is in it.</p>
</footer>
</body>
</html>
"""


def markdown(report: Report) -> str:
    """The same without figures: their numbers are in the CSV files named."""
    lines = [f"# {report.name}", ""]
    lines += [report.question, ""] if report.question else []
    lines += [f"**{report.answer}**", "", *(f"- {one}" for one in report.caveats), ""]
    lines += [f"- {name}: {value}" for name, value in report.tiles]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        for part in section.parts:
            lines += [f"### {part.title}", ""] if part.title else []
            if isinstance(part.content, Table):
                lines += [part.content.caption, "", *_markdown_table(part.content), ""]
            else:
                lines += [part.content.lede, ""]
            lines += [f"`{part.content.name}.csv`", ""]
    lines += ["", "## How to read this", "", *(f"- {note}" for note in report.notes), ""]
    lines += [f"- {name}: {value}" for name, value in report.facts]
    return "\n".join([*lines, "", f"Made by `{report.command}`.", ""])


def _section(one: Section, command: str) -> str:
    parts = "\n".join(_part(part, one.anchor, command) for part in one.parts)
    text = f"<p>{escape(one.text)}</p>" if one.text else ""
    title = f'<h2 id="{one.anchor}-title">{escape(one.title)}</h2>'
    return f'<section id="{one.anchor}" aria-labelledby="{one.anchor}-title">{title}{text}\n{parts}</section>'


def _part(part: Part, anchor: str, command: str) -> str:
    content = part.content
    shown = _table(content, part.title) if isinstance(content, Table) else _figure(content)
    source = _source(content.name, as_csv(content.raw if isinstance(content, Table) else content.table), command)
    if part.folded:
        return f"<details><summary>{escape(part.title)}</summary>{shown}{source}</details>"
    heading = f'<h3 id="{anchor}-{content.name}">{escape(part.title)}</h3>' if part.title else ""
    return f"{heading}{shown}{source}" if isinstance(content, Table) else f"<figure>{heading}{shown}{source}</figure>"


def _source(name: str, text: str, command: str) -> str:
    """The table's numbers, carried by the page itself, and the command that made them."""
    data = base64.b64encode(text.encode()).decode()
    link = f'<a href="data:text/csv;base64,{data}" download="{name}.csv">{name}.csv</a>'
    return f'<p class="source">{link}, made by <code>{escape(command)}</code></p>'


def _table(table: Table, title: str) -> str:
    head = "".join(
        f'<th scope="col"{_class(_is_number(table, place))}>{escape(title)}</th>'
        for place, title in enumerate(table.headings)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, place == 0) for place, cell in enumerate(row)) + "</tr>" for row in table.rows
    )
    words = "" if any(cell.number for row in table.rows for cell in row) else ' class="wide"'
    label = escape(title or table.caption.split(". ")[0])
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {label}"><table{words}>'
        f"<caption><span>{escape(table.caption)}</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell, heading: bool) -> str:
    text = escape(cell.text)
    shown = (
        f'<strong class="best">{text}</strong>' if cell.best else f"<strong>{text}</strong>" if cell.strong else text
    )
    shown += f"<small>{escape(cell.below)}</small>" if cell.below else ""
    shown += _strip(cell.strip) if cell.strip else ""
    if cell.tint:
        return f'<td class="number tinted" style="--tint:{24 * cell.tint:.0f}">{shown}</td>'
    return f'<th scope="row">{shown}</th>' if heading else f"<td{_class(cell.number)}>{shown}</td>"


def _strip(strip: Strip) -> str:
    """The interval as a line with a dot, beside the same in numbers: nothing for a screen reader to say."""
    parts = []
    if strip.floor is not None:
        parts.append(f'<line class="floor" x1="{_x(strip.floor)}" x2="{_x(strip.floor)}" y1="0" y2="12"/>')
    if strip.low is not None and strip.high is not None:
        parts.append(f'<line x1="{_x(strip.low)}" x2="{_x(strip.high)}" y1="6" y2="6"/>')
    parts.append(f'<circle cx="{_x(strip.value)}" cy="6" r="4"/>')
    return f'<svg class="strip" viewBox="0 0 152 12" aria-hidden="true">{"".join(parts)}</svg>'


def _x(share: float) -> str:
    return f"{5 + 142 * share:.1f}"


def _figure(figure: Figure) -> str:
    keys = "".join(
        f'<li><span style="color:{colour}" aria-hidden="true">{sign}</span> {escape(text)}</li>'
        for sign, colour, text in figure.keys
    )
    drawings = "".join(f"<div>{svg}</div>" for svg in figure.drawings)
    return (
        f"<figcaption><p>{escape(figure.lede)}</p></figcaption>"
        f'<ul class="key" aria-label="Key">{keys}</ul><div class="drawings">{drawings}</div>'
    )


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    def text(cell: Cell) -> str:
        shown = f"**{cell.text}**" if cell.strong or cell.best else cell.text
        return f"{shown}, {cell.below}" if cell.below else shown

    rows = [[text(cell) for cell in row] for row in table.rows]
    return [line(table.headings), line(["---"] * len(table.headings)), *map(line, rows)]


def _is_number(table: Table, place: int) -> bool:
    return bool(table.rows) and table.rows[0][place].number


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _list(items: Sequence[str], name: str) -> str:
    return f'<ul class="{name}">' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    shown = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<dl class="facts">{shown}</dl>' if facts else ""


def escape(text: str) -> str:
    """Text for HTML, with no line break between a number and its per cent."""
    return _PERCENT.sub("\\1\u00a0%", escaped(text))
