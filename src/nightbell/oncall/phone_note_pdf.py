"""A phone note as PDF, to be printed or put into a chart. Made in memory; nothing of it touches a disk."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import letter  # type: ignore[import-untyped]
from reportlab.lib.styles import ParagraphStyle  # type: ignore[import-untyped]
from reportlab.lib.units import inch  # type: ignore[import-untyped]
from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]
from reportlab.pdfbase.ttfonts import TTFont  # type: ignore[import-untyped]
from reportlab.platypus import (  # type: ignore[import-untyped]
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from nightbell.oncall.phone_note import PhoneNote, elements, heading

FONTS = Path(__file__).with_name("fonts")
PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
MISSING = "□"  # stands for a letter that the font does not have
_MOST_PART = 1500  # characters of one cell: a cell that is higher than a page cannot be set


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    """Registers the fonts once and returns what both can draw."""
    found = []
    for name in (PLAIN, BOLD):
        font = TTFont(name, str(FONTS / f"{name}.ttf"))
        pdfmetrics.registerFont(font)
        found.append(set(font.face.charToGlyph))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    return frozenset(found[0] & found[1])


def drawable(text: str) -> tuple[str, bool]:
    """The text with a box for each letter that cannot be drawn, and whether all can. Never a wrong letter, never none."""
    letters = _letters()
    out = "".join(one if one in "\n\t" or ord(one) in letters else MISSING for one in text)
    return out, out == text


def _cells(text: str) -> list[str]:
    """A long text as pieces that each fit on a page, cut between words."""
    pieces = []
    while len(text) > _MOST_PART or text.count("\n") > 30:
        head = "\n".join(text.split("\n")[:30])[:_MOST_PART]
        cut = max(head.rfind(" "), head.rfind("\n")) + 1 or len(head)
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def _markup(text: str) -> str:
    return escape(text).replace("\t", "    ").replace("\n", "<br/>")


def as_pdf(note: PhoneNote) -> bytes:
    """The note on letter paper. The file's own properties name the message's id and nothing of the patient's."""
    whole = True
    styles = _styles()
    rows = []
    title, whole = drawable(heading(note))
    for label, value in elements(note):
        text, drawn = drawable(value)
        whole = whole and drawn
        for place, piece in enumerate(_cells(text)):
            name = label if place == 0 else ""
            rows.append([Paragraph(name, styles["label"]), Paragraph(_markup(piece), styles["text"])])
    table = Table(rows, colWidths=[1.5 * inch, 5.5 * inch])
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]))
    story = [Paragraph(_markup(title), styles["title"]), Spacer(1, 10), table, Spacer(1, 14)]
    if not whole:
        story.append(
            Paragraph(
                f"{MISSING} stands for a letter that this file cannot show. The text copy has it.",
                styles["foot"],
            )
        )
    story.append(Paragraph(f"Nightbell message {note.message}", styles["foot"]))
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=letter, leftMargin=0.75 * inch, rightMargin=0.75 * inch, topMargin=0.75 * inch,
        bottomMargin=0.75 * inch, title=f"Phone note {note.message}", author="Nightbell", invariant=1, lang="en-US",
    )  # fmt: skip
    document.build(story)
    return out.getvalue()


def _styles() -> dict[str, ParagraphStyle]:
    _letters()
    plain = {"fontName": PLAIN, "fontSize": 10, "leading": 14}
    return {
        "title": ParagraphStyle("title", fontName=BOLD, fontSize=16, leading=20),
        "label": ParagraphStyle("label", **(plain | {"fontName": BOLD})),
        "text": ParagraphStyle("text", splitLongWords=1, **plain),
        "foot": ParagraphStyle("foot", **(plain | {"fontSize": 8, "leading": 11})),
    }
