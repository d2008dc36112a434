"""Pieces and holes by hand, of pictures and of volumes, and the difference that counts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segadv_monai.metrics import components, holes, topology_error
from segadv_monai.protocols import ConfigError, DataError

Mask = NDArray[np.bool_]


def drawn(*lines: str) -> Mask:
    return np.array([[place == "#" for place in line] for line in lines])


@pytest.mark.parametrize(
    ("mask", "pieces", "enclosed"),
    [
        (drawn("....", "...."), 0, 0),
        (drawn("####", "####"), 1, 0),
        (drawn("#..#", "#..#"), 2, 0),
        (drawn("#...", ".#..", "..#."), 1, 0),  # corners connect
        (drawn("###", "#.#", "###"), 1, 1),
        (drawn(".#.", "#.#", ".#."), 1, 1),  # and so they close a line
        (drawn("###", "#..", "###"), 1, 0),  # open to the border
        (drawn("#####", "#.#.#", "#####"), 1, 2),
        (drawn("####", "#.##", "##.#", "####"), 1, 2),  # holes that touch at a corner are two
        (drawn("#####", "#...#", "#.#.#", "#...#", "#####"), 2, 1),
    ],
)
def test_pieces_and_holes_by_hand(mask: Mask, pieces: int, enclosed: int) -> None:
    padded = np.pad(mask, 2)
    for seen in (mask, padded, mask.T, torch.from_numpy(mask).float()):
        assert (components(seen), holes(seen)) == (pieces, enclosed)


def test_a_cavity_is_a_hole_of_a_volume_and_a_tunnel_is_none() -> None:
    cube = np.ones((3, 3, 3), bool)
    cube[1, 1, 1] = False
    assert (components(cube), holes(cube)) == (1, 1)
    cube[1, 1, 0] = False
    assert holes(cube) == 0
    cube[1, 1] = False
    assert (components(cube), holes(cube)) == (1, 0)
    assert components(np.stack([drawn("#.", ".."), drawn("..", ".#")])) == 1


def flooded(inside: Mask, diagonal: bool) -> int:
    """Pieces, counted by walking from place to place."""
    left, number = {tuple(place) for place in np.argwhere(inside).tolist()}, 0
    while left:
        number += 1
        waiting = [left.pop()]
        while waiting:
            here = waiting.pop()
            for place in list(left):
                steps = [abs(a - b) for a, b in zip(here, place, strict=True)]
                if max(steps) == 1 and (diagonal or sum(steps) == 1):
                    left.remove(place)
                    waiting.append(place)
    return number


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([(5, 6), (7, 1), (3, 4, 3)]), st.integers(0, 2**42 - 1))
def test_any_mask_has_the_pieces_and_holes_that_a_walk_finds(shape: tuple[int, ...], bits: int) -> None:
    size = math.prod(shape)
    mask = np.array([bits >> i & 1 for i in range(size)], bool).reshape(shape)
    assert components(mask) == flooded(mask, diagonal=True)
    assert holes(mask) == flooded(np.pad(~mask, 1, constant_values=True), diagonal=False) - 1


def test_only_the_difference_of_the_numbers_counts_and_100_is_the_most() -> None:
    one, two = drawn("#....", "....."), drawn("#..#.", ".....")
    assert topology_error("components_error", two, one) == topology_error("components_error", one, two) == 1
    assert topology_error("components_error", two, ~one) == 1
    many = np.zeros((25, 25), bool)
    many[::2, ::2] = True
    assert components(many) == 169
    assert topology_error("components_error", many, many[::-1]) == 0
    single = np.zeros_like(many)
    single[0, 0] = True
    assert topology_error("components_error", many, single) == 100


@pytest.mark.parametrize("name", ["components_error", "holes_error"])
def test_an_empty_mask_gets_the_worst_value_and_two_have_none(name: str) -> None:
    nothing, one = drawn("...", "..."), drawn("#..", "...")
    assert topology_error(name, nothing, one) == topology_error(name, one, nothing) == 100
    assert math.isnan(topology_error(name, nothing, nothing))


def test_what_cannot_be_compared_is_one_line() -> None:
    with pytest.raises(ConfigError, match="measure must be one of components_error, holes_error, got euler"):
        topology_error("euler", drawn("#"), drawn("#"))
    with pytest.raises(DataError, match=r"one shape, got \(1, 1\) and \(1, 2\): bring"):
        topology_error("holes_error", drawn("#"), drawn("##"))
