"""What the text of a submission must not have.

plain() runs always. It gives the plain cases a plain reason; the sandbox is what holds.
asking() is for Landlock: what must not be read is refused there otherwise than what is not
there, and `__has_include` tells the two apart.
strict() is for a host without one. It refuses whatever can make a compiler open a file
under a name that is not written out, and so refuses some honest programs too: no lab needs
any of it. It cannot know all that the kernel's macros can be made to say.
"""

from __future__ import annotations

import re
from typing import Iterator, Sequence

from .submission import NotGradable, shown

# GCC's spelling of a directive: blanks and comments may stand around the #, and a
# backslash at the end of a line joins it to the next one. %: is another way to write #.
DIRECTIVE = re.compile(r"^[ \t\f\v]*(?:#|%:)[ \t]*(\w+)(.*)$")
LITERAL = re.compile(r'[ \t]*(?:<([^>]*)>|"([^"]*)")')
OPENS = ("include", "include_next", "import", "embed")

# Assembly, which has an .include and an .incbin of its own.
ASSEMBLY_READS = re.compile(r"\.\s*(incbin|include)\b", re.I)

ASKS = (re.compile(r"\b__has_(?:include|embed)\w*"), "asks whether a file is there")
# What strict() refuses: pattern, and what to call it.
STRICT = (
    ASKS,
    (re.compile(r"\b(?:__)?asm(?:_\w+)?(?:__)?\b"), "has assembly in it"),
    (re.compile(r"##|%:%:|\b_*PASTE\w*\b|\b_*CONCAT\w*\b"), "pastes words together"),
    (re.compile(r"\?\?[=/'()!<>-]"), "has trigraphs"),
    (re.compile(r"\\[uU][0-9a-fA-F]{4}"), "has names written as character codes"),
    (re.compile(r"\b_*(?:section|alias|symver|ifunc|weakref)_*\b"),
     "names a section or a symbol of the assembler"),
    (re.compile(r"\b_Pragma\b|^[ \t]*(?:#|%:)[ \t]*(?:pragma|line|\d+)\b", re.M),
     "has a #pragma or #line"),
)  # fmt: skip
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def spliced(text: str) -> str:
    """As the compiler reads it: lines joined at a backslash, comments gone, strings kept."""
    text = re.sub(r"\\[ \t]*\r?\n", "", text)
    # A string must not be taken for the begin of a comment.
    return COMMENT.sub(lambda found: found[0] if found[0][0] in "\"'" else " ", text)


def includes(text: str) -> Iterator[tuple[str, str]]:
    """Each directive that opens a file: its line, and the name if it is written out."""
    for line in spliced(text).splitlines():
        directive = DIRECTIVE.match(line)
        if directive and directive[1] in OPENS:
            name = LITERAL.match(directive[2])
            yield line.strip(), (name[1] or name[2] or "") if name else ""


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def plain(name: str, text: str) -> None:
    """NotGradable, if the text opens files that are none of the course's."""
    for line, file in includes(text):
        if not file:
            raise NotGradable(f"{name} opens a file whose name is not written out: {shown(line)}")
        # ../include/ is where the course's own headers are, seen from a lab's folder.
        if _leads_out(re.sub(r"^\.\./include/", "", file)):
            raise NotGradable(f"{name} opens {shown(file)}: only headers of the kernel "
                              "and of the course, by their plain names")  # fmt: skip
    if found := ASSEMBLY_READS.search(spliced(text)):
        raise NotGradable(f"{name} has .{found[1]} of the assembler: no lab needs it")


def asking(name: str, text: str) -> None:
    """plain(), for a sandbox that forbids a file to be read and tells that it is there."""
    plain(name, text)
    _refuse((ASKS,), name, text, "this sandbox hides no names")


def strict(name: str, text: str) -> None:
    """plain(), and whatever could hide such a name."""
    plain(name, text)
    _refuse(STRICT, name, text, "without a sandbox it is not compiled")


def _refuse(table: Sequence[tuple[re.Pattern[str], str]], name: str, text: str, why: str) -> None:
    code = spliced(text)
    for pattern, does in table:
        if found := pattern.search(code):
            raise NotGradable(f"{name} {does} (`{found[0].strip()}`). No lab needs that, "
                              f"and {why}")  # fmt: skip
