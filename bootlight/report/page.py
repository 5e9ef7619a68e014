"""Shell of the report: one HTML file without network access, for phones and desktops, light and dark."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from bootlight.io.atomic import read_bytes

MAX_PNG_BYTES = 16 * 2**20
# Nothing is fetched and no script runs, even if some text were not escaped.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #d5d9de; --page: #ffffff; --ink: #14171a;
  --soft: #f4f5f7; --quiet: #5b6570; --link: #1a5fb4; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a4048; --page: #16191d; --ink: #e6e9ec;
    --soft: #23272d; --quiet: #a3adb8; --link: #8ab8f0; }
}
* { box-sizing: border-box; }
body { background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1080px; padding: 16px; }
h1 { font-size: 1.6rem; margin: .4em 0 0; overflow-wrap: anywhere; }
h2 { border-top: 1px solid var(--line); font-size: 1.15rem; margin: 2em 0 .6em; padding-top: 1em; }
h3 { font-size: 1rem; margin: 1.4em 0 .3em; overflow-wrap: anywhere; }
p { margin: .5em 0; max-width: 46em; }
a { color: var(--link); }
.summary { font-size: 1.1rem; }
.verdict { border-left: 3px solid var(--link); padding-left: 10px; }
.note { color: var(--quiet); font-size: .9rem; }
.scroll { overflow-x: auto; }
img, svg { display: block; height: auto; max-width: 100%; }
.strip { background: white; border: 1px solid var(--line); border-radius: 6px; }
@media (max-width: 700px) { .strip img { max-width: none; width: 860px; } }
.curves { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
figure { margin: 0; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 5px 10px; text-align: right; vertical-align: bottom;
  white-space: nowrap; }
th { font-size: .85rem; font-weight: 600; }
th:first-child, td:first-child { background: var(--page); left: 0; padding-left: 2px; position: sticky;
  text-align: left; }
dl { display: grid; gap: 2px 14px; grid-template-columns: max-content 1fr; margin: .3em 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 6px; font-size: .85rem; overflow-x: auto; padding: 10px; }
summary { cursor: pointer; }
ul { margin: .3em 0; padding-left: 1.2em; }
"""


def page(title: str, sections: Iterable[str], mark: str = "") -> str:
    """A complete HTML document.

    Args:
        title: plain text.
        sections: HTML, already escaped.
        mark: of what it shows, see `bootlight.report.current`.
    """
    meta = f'<meta name="scores" content="{escape(mark)}">\n' if mark else ""
    body, heading = _utf8("\n".join(sections)), _utf8(escape(title))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{meta}<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _utf8(text: str) -> str:
    """Text without halves of characters, which JSON and file names may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()


def section(title: str, *parts: str) -> str:
    """A headed section; `parts` are HTML."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table that scrolls sideways on narrow screens; cells are plain text, line ends in the header are kept."""
    head = "".join(f"<th>{escape(cell).replace(chr(10), '<br>')}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def remark(text: str) -> str:
    """A remark in small grey letters."""
    return f'<p class="note">{escape(text)}</p>'


def definitions(entries: Mapping[str, object]) -> str:
    """Names and values as a definition list."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in entries.items())
    return f"<dl>{items}</dl>"


def figure(caption: str, svg: str) -> str:
    """A drawing with its caption above it."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def embedded_png(path: Path, alt: str) -> str:
    """A picture that travels inside the page.

    Raises:
        BootlightError: it cannot be read, or is too large for that.
    """
    data = base64.b64encode(read_bytes(path, MAX_PNG_BYTES)).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
