"""Registry and building: components by name, checked, back to dictionaries, mistakes by name."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from wonn_jax.config import Component, build, components, field_names, register, to_dict

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Animal(Component):
    kind: ClassVar[str] = "test animal"


@register("cat")
@dataclasses.dataclass(frozen=True)
class Cat(Animal):
    lives: int = 9
    weight: float = 4.0
    colours: tuple[str, ...] = ("black",)

    def check(self) -> None:
        if self.lives < 1:
            raise ValueError(f"config.pet.lives={self.lives} must be at least 1.")


@register("dog")
@dataclasses.dataclass(frozen=True)
class Dog(Animal):
    tricks: tuple[int, ...] = ()
    tail: bool = True


@dataclasses.dataclass(frozen=True)
class Guest(Component):
    kind: ClassVar[str] = "test guest"


@register("friend")
@dataclasses.dataclass(frozen=True)
class Friend(Guest):
    gifts: int = 1


@register("aunt")
@dataclasses.dataclass(frozen=True)
class Aunt(Guest):
    cakes: int = 2

    def check(self) -> None:
        if self.cakes < 0:
            raise ValueError(f"config.party.cakes={self.cakes} must be at least 0.")


@dataclasses.dataclass(frozen=True)
class Party:
    hour: int = 20
    guests: tuple[Guest, ...] = ()


@dataclasses.dataclass(frozen=True)
class House:
    pet: Animal
    rooms: int = 3
    height: float | None = None
    party: Party = Party()


def test_components_are_registered_by_kind_and_name():
    assert components("test animal") == {"cat": Cat, "dog": Dog}
    assert components("no such kind") == {}
    assert (Cat.name, Dog.name) == ("cat", "dog")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match=r"test animal 'cat' is already .*Cat.*; choose another"):

        @register("cat")
        class Lion(Animal):
            pass

    assert components("test animal")["cat"] is Cat


def test_a_file_may_be_imported_twice():
    """As is a card that the command line loads and a test imports."""
    again = dataclasses.make_dataclass("Again", [], bases=(Animal,), frozen=True)
    twin = dataclasses.make_dataclass("Again", [], bases=(Animal,), frozen=True)
    register("again")(again)
    register("again")(twin)
    assert components("test animal")["again"] is twin


HOUSES = [
    House(Cat()),
    House(Dog(tricks=(1, 2), tail=False), rooms=1, height=2.5),
    House(Cat(weight=3.5, colours=())),
    House(Cat(), party=Party(hour=8, guests=(Friend(gifts=3),))),
    House(Cat(), party=Party(guests=(Aunt(), Friend()))),
]


@pytest.mark.parametrize("house", HOUSES, ids=repr)
def test_dictionaries_and_back(house):
    values = to_dict(house)
    assert values["pet"]["name"] == house.pet.name
    assert build(House, values) == house


def test_fields_of_several_components_lie_in_their_section():
    values = to_dict(HOUSES[4])["party"]
    assert values == {"hour": 20, "guests": ("aunt", "friend"), "cakes": 2, "gifts": 1}
    party = build(House, {"pet": {"name": "cat"}, "party": {"guests": ["friend"], "gifts": 5}})
    assert party.party == Party(guests=(Friend(gifts=5),))


def test_what_is_left_out_has_its_default():
    house = build(House, {"pet": {"name": "cat", "weight": 5}})
    assert house == House(Cat(weight=5.0))
    assert type(house.pet.weight) is float


CAT = {"name": "cat"}
MISTAKES = [
    ({}, r"^config lacks pet\.$"),
    (
        {"pet": CAT, "room": 1},
        r"^config has no field 'room'; did you mean config\.rooms\? It has p",
    ),
    ({"pet": {"name": "cow"}}, r"^config\.pet\.name='cow' is unknown; use one of cat, dog.*=cat"),
    ({"pet": {}}, r"^config\.pet\.name=None is unknown; use one of cat, dog"),
    ({"pet": CAT | {"tricks": ()}}, r"config\.pet has no field 'tricks'. It has lives, weight, co"),
    ({"pet": CAT | {"live": 8}}, r"'live'; did you mean config\.pet\.lives\?"),
    ({"pet": CAT | {"lives": "8"}}, r"config\.pet\.lives='8' is of type str; it must be int"),
    ({"pet": CAT | {"lives": True}}, r"lives=True is of type bool; it must be int"),
    ({"pet": CAT | {"lives": 8.0}}, r"lives=8\.0 is of type float; it must be int"),
    ({"pet": CAT | {"weight": "x"}}, r"weight='x' is of type str; it must be float"),
    ({"pet": CAT | {"lives": 0}}, r"^config\.pet\.lives=0 must be at least 1\.$"),
    ({"pet": CAT | {"colours": "black"}}, r"colours='black' must be names in brackets"),
    ({"pet": {"name": "dog", "tricks": ("a",)}}, r"\('a',\) must be integers in brackets.*1, 2"),
    ({"pet": {"name": "dog", "tricks": (True,)}}, r"\(True,\) must be integers in brackets"),
    ({"pet": {"name": "dog", "tail": 1}}, r"tail=1 is of type int; it must be bool"),
    ({"pet": CAT, "height": "x"}, r"height='x' is of type str; it must be float or None"),
    ({"pet": "cat"}, r"config\.pet='cat' must be a section with fields of its own"),
    ({"pet": CAT, "party": {"guests": ("uncle",)}}, r"party\.guests='uncle' is unknown; use one o"),
    (
        {"pet": CAT, "party": {"guests": ("aunt",), "gifts": 2}},
        r"config\.party\.gifts=2 is a field of friend, which config\.party\.guests=\('aunt',\)",
    ),
    ({"pet": CAT, "party": {"guests": ("aunt",), "cakes": -1}}, r"cakes=-1 must be at least 0"),
    ({"pet": CAT, "party": {"cake": 1}}, r"config\.party has no field 'cake'"),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        build(House, values)


def test_field_names_are_without_the_name():
    assert field_names(Cat) == ["lives", "weight", "colours"]


def test_importing_the_package_is_light():
    """No TensorFlow, no data library, no device."""
    code = (
        "import sys, wonn_jax; "
        "heavy = {'tensorflow', 'tensorflow_datasets', 'grain', 'orbax', 'matplotlib'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "from jax._src import xla_bridge; assert not xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
