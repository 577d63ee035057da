"""Configurations made of components: a registry, and building from plain values.

A component is a frozen dataclass that lives beside the code that reads it, such as the settings of
one network. Its base class says of which `kind` it is ('model', 'data', …), `register` gives it
the name by which a configuration chooses it among those of its kind. In a dictionary, and on the
command line, a component is its fields and its `name`:

    @register("perceptron")
    @dataclasses.dataclass(frozen=True)
    class PerceptronConfig(ModelConfig):
        width: int = 64

    build(Config, {"model": {"name": "perceptron", "width": 32}, …})

Where a section holds several components (`tuple[Evaluator, ...]`), it lists their names, and their
fields are fields of the section. Nothing here knows any component.
"""

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from wonn_jax.common.checks import one_of

T = TypeVar("T")
_registry: dict[str, dict[str, type["Component"]]] = {}


class Component:
    """Base of what a configuration is made of.

    Attributes:
      kind: which part of a configuration it is, declared by the base class of the kind.
      name: by which it is chosen, see `register`.
    """

    kind: ClassVar[str]
    name: ClassVar[str]

    def check(self) -> None:
        """Raises a ValueError if fields are out of range, or contradict each other."""

    def unused(self) -> dict[str, str]:
        """Fields that nothing reads, given the others, and why: nobody should set them."""
        return {}


def register(name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: makes a frozen dataclass the component `name` of its kind.

    Raises:
      ValueError: the name is taken by another class.
    """

    def add(cls: type[T]) -> type[T]:
        component: Any = cls
        known = _registry.setdefault(component.kind, {})
        other = known.get(name)
        if other is not None and other.__qualname__ != cls.__qualname__:
            raise ValueError(
                f"{component.kind} {name!r} is already {other!r}; choose another name."
            )
        component.name = name
        known[name] = component
        return cls

    return add


def components(kind: str) -> Mapping[str, type[Component]]:
    """The registered components of a kind by name."""
    return _registry.get(kind, {})


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a configuration as nested dictionaries; the inverse of `build`."""
    out: dict[str, Any] = {"name": config.name} if isinstance(config, Component) else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            out[field.name] = to_dict(value)
        elif _several(field.type):
            out[field.name] = tuple(part.name for part in value)
            for part in value:
                out |= {name: x for name, x in to_dict(part).items() if name != "name"}
        else:
            out[field.name] = value
    return out


def build(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """A configuration from nested dictionaries; a field that is left out has its default.

    Args:
      cls: a frozen dataclass, or the base class of a kind of component.
      values: its fields; of a component, its `name` too.
      where: for messages, such as 'config.model'.

    Raises:
      ValueError: unknown names, wrong types, and what the `check` of each component refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}={values!r} must be a section with fields of its own.")
    rest = dict(values)
    if issubclass(cls, Component):
        known = components(cls.kind)
        name = rest.pop("name", getattr(cls, "name", None))
        one_of(f"{where.removeprefix('config.')}.name", name, known)
        cls = typing.cast(type[T], known[name])
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name in fields:
        if part := _several(hints[name]):
            arguments[name] = _parts(part, rest, name, where, set(fields))
        elif name in rest:
            arguments[name] = _value(hints[name], rest.pop(name), f"{where}.{name}")
    if rest:
        raise ValueError(unknown_field(where, next(iter(rest)), field_names(cls)))
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    if missing := [name for name in required if name not in arguments]:
        raise ValueError(f"{where} lacks {', '.join(missing)}.")
    made: Any = cls(**arguments)
    if hasattr(made, "check"):
        made.check()
    return made


def _parts(
    base: type[Component], rest: dict[str, Any], name: str, where: str, own: set[str]
) -> tuple[Any, ...]:
    """The components that a section lists under `name`; takes their fields out of `rest`."""
    chosen = _value(tuple[str, ...], rest.pop(name, ()), f"{where}.{name}")
    known = components(base.kind)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{where}.{name}={chosen} names one twice.")
    for part in chosen:
        one_of(f"{where.removeprefix('config.')}.{name}", part, known)
    taken: set[str] = set()
    made = []
    for part in chosen:
        names = [f.name for f in dataclasses.fields(known[part])]  # type: ignore[arg-type]
        taken |= set(names)
        made.append(build(known[part], {n: rest[n] for n in names if n in rest}, where))
    for part, cls in known.items():
        for f in dataclasses.fields(cls):  # type: ignore[arg-type]
            if f.name in rest and f.name not in taken | own and rest[f.name] != f.default:
                raise ValueError(
                    f"{where}.{f.name}={rest[f.name]!r} is a field of {part}, which "
                    f"{where}.{name}={tuple(chosen)} leaves out."
                )
            if f.name not in own:
                rest.pop(f.name, None)
    return tuple(made)


def _several(hint: Any) -> type[Component] | None:
    """The kind of component of which a field of this type holds several; None if none."""
    if typing.get_origin(hint) is not tuple:
        return None
    part = typing.get_args(hint)[0]
    return part if isinstance(part, type) and issubclass(part, Component) else None


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, Component)):
        return build(typing.cast(type, kind), value, where)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        allowed = (int, float) if item is float else item
        if not isinstance(value, list | tuple) or not all(
            isinstance(x, allowed) and not isinstance(x, bool) for x in value
        ):
            what = {int: "integers", float: "numbers"}.get(item, "names")
            raise ValueError(
                f"{where}={value!r} must be {what} in brackets, for example --{where}='(1, 2)'."
            )
        return tuple(_value(item, x, where) for x in value)
    allowed = typing.get_args(kind) or (kind,)  # of a union such as `float | None`
    if type(value) is int and int not in allowed and float in allowed and abs(value) < 2**64:
        return float(value)
    if type(value) not in allowed:
        must = " or ".join("None" if x is type(None) else x.__name__ for x in allowed)
        raise ValueError(f"{where}={value!r} is of type {type(value).__name__}; it must be {must}.")
    return value


def field_names(cls: Any) -> list[str]:
    """Names of the fields that a section or component can be given."""
    return [field.name for field in dataclasses.fields(cls)]


def unknown_field(where: str, name: str, known: Iterable[str]) -> str:
    """What to say of a field that does not exist."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {where}.{close[0]}?" if close else "."
    return f"{where} has no field {name!r}{hint} It has {', '.join(known) or 'none'}."
