"""The page that a report is: one file that asks the network for nothing, and the elements that it is made of.

Every function here gives HTML and takes plain text, which it escapes, unless a parameter is called `html`.
"""

from collections.abc import Iterable
from html import escape

from rope_mt.study.compare.tables import Sheet
from rope_mt.system.plots import COLOURS

# Nothing is fetched: no script, image, font or style sheet but what is in the file itself, whatever text it may hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
LONG = 16  # characters in the first column of a table, above which they may be broken into lines
BLACK = "#000000"  # the one of the COLOURS that vanishes on dark paper

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1a; --dim: #5f5f5a; --line: #dcdcd6; --paper: #ffffff; --box: #f5f5f1;
  --mark: #ffe2b8; --better: #00724f; --worse: #b24a00; COLOURS }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e8e8e3; --dim: #a5a59e; --line: #3b3b38;
  --paper: #161615; --box: #222220; --mark: #6b4300; --better: #3fc79c; --worse: #ff9352; DARK } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { max-width: 66rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--paper); overflow-wrap: anywhere; }
h1 { margin: 0.5rem 0 0.25rem; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.25rem; }
h3 { margin: 1.5rem 0 0.25rem; font-size: 1rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
a { color: inherit; }
nav { margin: 1rem 0; font-size: 0.9rem; line-height: 2; }
nav a { margin-right: 1rem; white-space: nowrap; }
.dim { color: var(--dim); font-size: 0.875rem; }
.results { list-style: none; margin: 1rem 0; padding: 0; }
.results li { margin: 0.6rem 0; padding: 0.1rem 0 0.1rem 0.8rem; border-left: 4px solid var(--dim); max-width: 46rem; }
.results .better { border-color: var(--better); }
.results .worse { border-color: var(--worse); }
td.better, .better > strong { color: var(--better); font-weight: 600; }
td.worse, .worse > strong { color: var(--worse); font-weight: 600; }
.cautions { margin: 0.75rem 0; padding: 0.5rem 1rem 0.5rem 2rem; background: var(--box); font-size: 0.875rem; }
.wide { overflow-x: auto; background: linear-gradient(to left, var(--paper) 1.5rem, transparent) right / 3rem 100%
  no-repeat local, linear-gradient(to left, var(--line), transparent) right / 0.6rem 100% no-repeat; }
table { margin: 0.25rem 0 0.75rem; border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  vertical-align: top; overflow-wrap: break-word; }
thead th { color: var(--dim); font-weight: 500; vertical-align: bottom; }
tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 600; }
tbody th.long { min-width: 8rem; white-space: normal; }
th:first-child, .word { text-align: left; }
th:first-child { padding-left: 0; }
table.words th, table.words td { text-align: left; }
table.words td { min-width: 5rem; max-width: 24rem; white-space: normal; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1.25rem; margin: 0.75rem 0; padding: 0; list-style: none;
  font-size: 0.875rem; }
.legend svg { width: 2.2rem; height: 0.8rem; margin-right: 0.4rem; vertical-align: baseline; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 0.5rem 0; max-width: 32rem; }
figcaption { font-size: 0.9rem; font-weight: 600; }
figure svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); }
svg text.strong { fill: var(--text); font-weight: 600; stroke: var(--paper); stroke-width: 4px; paint-order: stroke; }
svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke: currentColor; }
svg .mark { fill: var(--paper); stroke: currentColor; stroke-width: 1.4; }
svg .base { stroke: var(--dim); stroke-dasharray: 5 4; }
article { margin: 1rem 0; padding: 0.6rem 1rem; background: var(--box); border-radius: 0.4rem; }
article h3 { margin: 0 0 0.25rem; font-size: 0.875rem; font-weight: 500; color: var(--dim); }
dl { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr; gap: 0.3rem 1.25rem; margin: 0; }
dt { color: var(--dim); font-size: 0.875rem; }
dd { margin: 0; unicode-bidi: isolate; }
mark { padding: 0 0.1em; border-radius: 0.2em; background: var(--mark); color: inherit; }
pre { margin: 0.5rem 0; padding: 0.6rem 0.8rem; background: var(--box); border-radius: 0.4rem; font-size: 0.8rem;
  line-height: 1.45; white-space: pre-wrap; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dt { margin-top: 0.4rem; }
}
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  nav { display: none; }
  .wide { overflow: visible; background: none; }
  tbody th { position: static; }
  table { font-size: 8pt; }
  th, td { padding: 0.15rem 0.35rem; }
  .charts { grid-template-columns: 1fr 1fr; }
  figure, article, tr, table:not(.words), .results li { break-inside: avoid; }
  h1, h2, h3, summary, .legend { break-after: avoid; }
  summary { list-style: none; }
  article, pre, .cautions { background: none; border: 1px solid var(--line); }
  mark { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; }
  details:not([open]) > :not(summary) { display: block; }
}
"""


def page(title: str, html: Iterable[str]) -> str:
    """The whole file, from what its body holds."""
    colours = "".join(f"--c{i}: {colour}; " for i, colour in enumerate(COLOURS))
    dark = "".join(f"--c{i}: #ffffff; " for i, colour in enumerate(COLOURS) if colour == BLACK)
    looks = "".join(f".c{i} {{ color: var(--c{i}); }}\n" for i in range(len(COLOURS)))
    style = STYLE.replace("COLOURS", colours).replace("DARK", dark) + looks
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',  # without one a browser asks for favicon.ico
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
            *html,
            "</body>\n</html>\n",
        ]
    )


def section(anchor: str, heading: str, *html: str) -> str:
    return f'<section id="{anchor}">\n<h2>{escape(heading)}</h2>\n' + "\n".join(filter(None, html)) + "\n</section>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def items(lines: Iterable[str], kind: str) -> str:
    """A list, or nothing where there are no lines."""
    html = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{html}</ul>' if html else ""


def side_by_side(html: Iterable[str]) -> str:
    """Figures, one below the other where there is no room."""
    return f'<div class="charts">{"".join(html)}</div>'


def commands(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def folded(summary: str, html: str) -> str:
    """What is shown when it is opened, and in print."""
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
    body, kind, said = "\n".join(rows), ' class="words"' if words else "", escape(title)
    return (
        f'<h3>{said}</h3>\n<div class="wide" role="region" aria-label="{said}" tabindex="0"><table{kind}>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str, column: str) -> str:
    if column != "verdict":
        return f"<td>{escape(text)}</td>"
    kind = next((word for word in ("better", "worse") if text.startswith(word)), "")
    return f'<td class="word {kind}">{escape(text)}</td>'
