"""Test sets in the SGML of WMT until 2020: the segments of a file, in order."""

from html.parser import HTMLParser

from rope_mt.errors import UserError


class Segments(HTMLParser):
    """The text of each <seg>, with entities resolved and runs of white space as one blank.

    Args:
        content: of the file; bytes that are no UTF-8 become surrogates, as `surrogateescape` makes them.
        name: of the file, for messages.

    Raises:
        UserError: a segment does not end, has markup in it, or is there twice.
    """

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__()
        self.name = name
        self.lines: dict[tuple[str | None, str], str] = {}  # by document and number of the segment
        self._document: str | None = None
        self._segment = ""
        self._text: list[str] | None = None  # of the segment under way
        self.feed(content.decode(errors="surrogateescape"))
        self.close()
        if self._text is not None:
            self._refuse("does not end")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._text is not None:
            self._refuse(f"has <{tag}> in it; a < of the text is written &lt;")
        if tag == "doc":
            self._document = dict(attrs).get("docid")
        elif tag == "seg":
            self._segment = dict(attrs).get("id") or f"number {len(self.lines) + 1}"
            if (self._document, self._segment) in self.lines:
                self._refuse("is there twice")
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if self._text is None:
            return
        if tag != "seg":
            self._refuse(f"has </{tag}> in it; a < of the text is written &lt;")
        self.lines[self._document, self._segment] = " ".join("".join(self._text).split())
        self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def _refuse(self, why: str) -> None:
        of = f" of document {self._document}" if self._document else ""
        raise UserError(f"{self.name}: segment {self._segment}{of} {why}")
