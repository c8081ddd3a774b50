"""The XML of i2b2 2012 and 2014: a text in CDATA, and annotations that point into it by character.

    <ROOT><TEXT><![CDATA[...]]></TEXT><TAGS><EVENT id="E0" start="1" end="10" text="Admission" .../>...</TAGS></ROOT>

Offsets count from 0 over the CDATA, with LF line ends, ends exclusive. This reads that one form and no other XML:
there is no document type, so no entity can expand or fetch anything. A bare `&`, which some of the owner's files
have and an XML parser stops at, stands for itself.
"""

import dataclasses
import re
from collections import Counter
from pathlib import Path

from jaxpeft.data.readers.corpus_files import read_text
from jaxpeft.errors import InputError

_BEGIN = r"\s*(<\?xml[^<>]*\?>\s*)?<{root}\s*>\s*<TEXT\s*>\s*<!\[CDATA\["
_MIDDLE = re.compile(r"\]\]>\s*</TEXT\s*>\s*<TAGS\s*(/?)>\s*")
_ANNOTATION = re.compile(r'<([A-Za-z]\w*)((?:\s+[\w-]+\s*=\s*"[^"]*")*)\s*(?:/>|>\s*</\1\s*>)\s*')
_ATTRIBUTE = re.compile(r'([\w-]+)\s*=\s*"([^"]*)"')
_END = r"{tags}</{root}\s*>\s*"
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos));|&")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


@dataclasses.dataclass(frozen=True)
class Annotation:
    """An element of TAGS and the line of the file that it begins on."""

    line: int
    element: str
    attributes: dict[str, str]


def parse(path: Path, root: str, report: Counter[str]) -> tuple[str, list[Annotation]]:
    """The text of a file and its annotations in order.

    `report` counts the files that have a bare `&` in an annotation.

    Raises:
        InputError: a file that is not of this form, by line; never what it says there.
    """
    content = read_text(path, report)
    begin = re.compile(_BEGIN.format(root=root)).match(content)
    if begin is None:
        raise InputError(f"{path}:1: expected <{root}><TEXT><![CDATA[ and nothing before it but an XML declaration")
    middle = _MIDDLE.search(content, begin.end())
    if middle is None:
        raise InputError(f"{path}: expected ]]></TEXT><TAGS> after the text: is the file whole?")
    annotations, bare, place = [], 0, middle.end()
    line, counted = 1 + content.count("\n", 0, place), place
    empty = bool(middle[1])  # <TAGS/>
    while not empty and (match := _ANNOTATION.match(content, place)):
        line, counted = line + content.count("\n", counted, place), place
        attributes = {}
        for name, value in _ATTRIBUTE.findall(match[2]):
            attributes[name], ampersands = _resolved(value)
            bare += ampersands
        annotations.append(Annotation(line, match[1], attributes))
        place = match.end()
    end = _END.format(root=root, tags="" if empty else r"</TAGS\s*>\s*")
    if not re.compile(end).fullmatch(content, place):
        line += content.count("\n", counted, place)
        raise InputError(f'{path}:{line}: expected an annotation such as <NAME id="..." .../> or </TAGS></{root}>')
    report["files_with_bare_ampersands"] += bare > 0
    return content[begin.end() : middle.start()], annotations


def _resolved(value: str) -> tuple[str, int]:
    """An attribute with its references resolved, and how many bare `&` it has."""
    bare = 0

    def character(match: re.Match[str]) -> str:
        nonlocal bare
        if match[3]:
            return _NAMED[match[3]]
        number = int(match[1] or "0") or int(match[2] or "0", 16)
        if 0 < number < 0xD800 or 0xDFFF < number < 0x110000:
            return chr(number)
        bare += 1
        return match[0]

    return _REFERENCE.sub(character, value), bare
