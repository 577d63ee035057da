"""Small pieces of HTML. Text is escaped by the serializer, whatever it contains."""

import base64
import math
from collections.abc import Iterable
from importlib import resources
from string import Template
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from wonn_jax.common.files import to_json


def element(tag: str, *children: Element | str, **attributes: object) -> Element:
    """An element with text and other elements in it; `class_="n"` sets the attribute class."""
    new = Element(tag, {name.rstrip("_"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            new.append(child)
        elif len(new):
            new[-1].tail = (new[-1].tail or "") + child
        else:
            new.text = (new.text or "") + child
    return new


def render(*parts: Element) -> str:
    """The elements as HTML."""
    return "\n".join(ElementTree.tostring(x, encoding="unicode", method="html") for x in parts)


def table(rows: Iterable[tuple[Any, ...]], head: tuple[str, ...] = ()) -> Element:
    """A table; numbers that are not whole have four decimals and are aligned to the right."""
    lines = [element("tr", *(element("th", name) for name in head))] if head else []
    lines += [element("tr", *map(_cell, row)) for row in rows]
    return element("table", *lines)


def _cell(value: Any) -> Element:
    if isinstance(value, float):
        return element("td", "–" if math.isnan(value) else f"{value:.4f}", class_="n")
    return element("td", "–" if value is None else str(value))


def picture(data: bytes, title: str) -> Element:
    """A PNG inside the page."""
    code = base64.b64encode(data).decode()
    return element("img", alt=title, src=f"data:image/png;base64,{code}")


def script_data(data: Any) -> str:
    """JSON that cannot end the `<script>` element it stands in."""
    return to_json(data).replace("<", "\\u003c")


def template(name: str, **values: str) -> str:
    """A template file of this folder with its `$names` replaced by HTML."""
    return Template(read(name)).substitute(values)


def read(name: str) -> str:
    """A file of this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
