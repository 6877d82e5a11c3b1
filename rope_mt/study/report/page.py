"""The page of a report: one file that asks the network for nothing, and the elements that it is made of.

Every function here returns HTML. It escapes the plain text that it gets, but no parameter that is called `html`.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from rope_mt import __version__
from rope_mt.study.compare.tables import Sheet

# A browser fetches no script, image, font or style sheet, whatever text the file may hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
LONG = 16  # characters in the first column of a table; a longer cell may be broken into lines
STYLE = Path(__file__).with_name("style.css")


def page(title: str, html_head: Iterable[str], html_sections: dict[str, str]) -> str:
    """The whole file.

    Args:
        html_head: below the title.
        html_sections: by their headings; those without content are skipped.
    """
    links, sections = [], []
    for heading, html in html_sections.items():
        if html:
            anchor = heading.lower().replace(" ", "-")
            links.append(f'<a href="#{anchor}">{escape(heading)}</a>')
            sections.append(f'<section id="{anchor}">\n<h2>{escape(heading)}</h2>\n{html}\n</section>')
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',  # without an icon a browser asks for favicon.ico
            f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text()}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(title)}</h1>",
            *html_head,
            f'<nav aria-label="Sections">{" ".join(links)}</nav>\n</header>\n<main>',
            *sections,
            f"</main>\n<footer>{paragraph(f'rope-mt {__version__}', 'dim')}</footer>\n</body>\n</html>\n",
        ]
    )


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def items(lines: Iterable[str], kind: str) -> str:
    """A list, or nothing where there are no lines."""
    html = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{html}</ul>' if html else ""


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Terms and what each stands for."""
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in rows)}</dl>"


def side_by_side(html: Iterable[str]) -> str:
    """Figures, one below the other where there is no room."""
    return f'<div class="charts">{"".join(html)}</div>'


def commands(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def folded(summary: str, html: str) -> str:
    """Content that is shown when it is opened, and in print."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def table(sheet: Sheet, title: str, words: bool = False) -> str:
    """A table in a box of its own that scrolls sideways; cells are right-aligned numbers unless they are `words`."""
    kinds = {"verdict": ' class="word"'}
    head = "".join(f'<th scope="col"{kinds.get(column, "")}>{escape(column)}</th>' for column in sheet.columns)
    rows = []
    for first, *cells in sheet.rows:
        html = "".join(_cell(cell.strip(), column) for cell, column in zip(cells, sheet.columns[1:], strict=True))
        long = ' class="long"' if len(first) > LONG and not words else ""
        rows.append(f'<tr><th scope="row"{long}>{escape(first)}</th>{html}</tr>')
    body, kind, title = "\n".join(rows), ' class="words"' if words else "", escape(title)
    return (
        f'<h3>{title}</h3>\n<div class="wide" role="region" aria-label="{title}" tabindex="0"><table{kind}>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str, column: str) -> str:
    if column != "verdict":
        return f"<td>{escape(text)}</td>"
    kind = next((word for word in ("better", "worse") if text.startswith(word)), "")
    return f'<td class="word {kind}">{escape(text)}</td>'
