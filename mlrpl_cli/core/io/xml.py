"""A parser for XML that others made, which expands nothing."""

from __future__ import annotations

from typing import Any

from defusedxml.ElementTree import DefusedXMLParser


class XmlParser(DefusedXMLParser):
    """Refuses entities and document types, but for one that declares nothing, as in `<!DOCTYPE annotation>`.

    A document type brings entities, and attributes that every element repeats: both grow without bound.
    """

    def __init__(self, target: Any) -> None:
        super().__init__(target=target, forbid_dtd=True)

    def defused_start_doctype_decl(self, name: str, sysid: str | None, pubid: str | None, has_subset: bool) -> None:
        if sysid or pubid or has_subset:
            super().defused_start_doctype_decl(name, sysid, pubid, has_subset)
