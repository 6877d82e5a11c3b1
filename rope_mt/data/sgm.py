"""Test sets in the SGML of WMT until 2020: the segments of a file, in order."""

from html.parser import HTMLParser

from rope_mt.errors import UserError


class Segments(HTMLParser):
    """Collects the text of each <seg>, with entities resolved and runs of white space as one blank.

    Args:
        name: of the file, for messages.

    Raises:
        UserError: a segment does not end, has markup in it, or is there twice.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.lines: list[str] = []
        self.keys: list[tuple[str | None, str]] = []  # document and number of each segment
        self._document: str | None = None
        self._text: list[str] | None = None  # of the segment under way

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._text is not None:
            self._refuse(f"has <{tag}> in it; a < of the text is written &lt;")
        if tag == "doc":
            self._document = dict(attrs).get("docid")
        elif tag == "seg":
            self.keys.append((self._document, dict(attrs).get("id") or f"number {len(self.keys) + 1}"))
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if self._text is None:
            return
        if tag != "seg":
            self._refuse(f"has </{tag}> in it; a < of the text is written &lt;")
        self.lines.append(" ".join("".join(self._text).split()))
        self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        if self._text is not None:
            self._refuse("does not end")
        if len(set(self.keys)) < len(self.keys):
            twice = next(key for n, key in enumerate(self.keys) if key in self.keys[:n])
            self._refuse("is there twice", twice)

    def _refuse(self, why: str, key: tuple[str | None, str] | None = None) -> None:
        document, segment = key or self.keys[-1]
        of = f" of document {document}" if document else ""
        raise UserError(f"{self.name}: segment {segment}{of} {why}")


def segments(content: bytes, name: str) -> Segments:
    """The segments of a file; bytes that are no UTF-8 become surrogates, as `surrogateescape` makes them."""
    parser = Segments(name)
    parser.feed(content.decode(errors="surrogateescape"))
    parser.close()
    return parser
