"""One self-contained HTML page: no scripts, no links to outside."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from training.files import writing


class Page:
    """Sections one after another; texts are escaped, figures are SVG or <img> and taken as they are."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = escape(title)
        self._parts = [f"<h1>{self._title}</h1>", f'<p class="lead">{escape(lead)}</p>']

    def section(self, heading: str, text: str = "") -> None:
        """A heading with a paragraph under it."""
        self._parts.append(f"<h2>{escape(heading)}</h2>")
        if text:
            self._parts.append(f"<p>{escape(text)}</p>")

    def figure(self, drawing: str, caption: str, narrow: bool = False) -> None:
        """A drawing with its caption."""
        kind = ' class="narrow"' if narrow else ""
        self._parts.append(f"<figure{kind}>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")

    def grid(self, drawings: Sequence[str]) -> None:
        """Drawings in two columns."""
        cells = "".join(f"<figure>{drawing}</figure>" for drawing in drawings)
        self._parts.append(f'<div class="grid">{cells}</div>')

    def strip(self, pictures: Sequence[tuple[str, str]], caption: str) -> None:
        """Pictures (image, what it shows) side by side."""
        cells = "".join(f"<div>{image}{escape(what)}</div>" for image, what in pictures)
        self._parts.append(
            f'<figure><div class="strip">{cells}</div><figcaption>{escape(caption)}</figcaption></figure>'
        )

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column is text, the others are numbers."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(
            f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def footer(self, text: str) -> None:
        """Small print at the end."""
        self._parts.append(f"<footer>{escape(text)}</footer>")

    def save(self, file: Path) -> None:
        """Writes the page."""
        style = files("lab").joinpath("page.css").read_text()
        body = "\n".join(self._parts)
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{self._title}</title><style>{style}</style><main>{body}</main></html>\n"
        )
        with writing(file) as out:
            out.write(page.encode())
