"""The articulation points of a layer graph, against every path of small graphs. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.errors import ConfigError
from securesplit.model.cuts import LayerNode, find_cut, nearest, valid_cuts


def node(name: str, *inputs: str, parameters: int = 0, work: int = 0, owner: str = "") -> LayerNode:
    return LayerNode(name, inputs, (2, 3), {owner or name: parameters}, work)


CHAIN = [node("in"), node("a", "in"), node("b", "a"), node("out", "b")]
RESIDUAL = [
    *(node("in"), node("stem", "in", parameters=10, work=100)),
    *(node("left", "stem", parameters=3, work=30), node("deep", "left", parameters=4, work=40)),
    *(node("add", "stem", "deep"), node("pool", "add"), node("out", "pool", parameters=5, work=50)),
]


def layers(graph: Sequence[LayerNode], *outputs: str) -> list[str]:
    return [cut.layer for cut in valid_cuts(graph, outputs)]


def test_every_layer_of_a_chain_is_a_cut_but_its_ends() -> None:
    assert layers(CHAIN, "out") == ["a", "b"]


def test_a_branch_is_no_cut() -> None:
    assert layers(RESIDUAL, "out") == ["stem", "add", "pool"]


def test_both_sides_are_counted() -> None:
    cut = find_cut(RESIDUAL, ["out"], "add")
    assert (cut.head_parameters, cut.tail_parameters) == (17, 5)
    assert (cut.head_multiply_adds, cut.tail_multiply_adds) == (170, 50)
    assert (cut.shape, cut.float32_bytes) == ((2, 3), 24)


def test_a_shared_layer_counts_once_on_a_side() -> None:
    graph = [node("in"), *(node(f"s{i}", f"s{i - 1}" if i else "in", parameters=7, owner="s") for i in range(3))]
    graph.append(node("out", "s2"))
    assert [(c.head_parameters, c.tail_parameters) for c in valid_cuts(graph, ["out"])] == [(7, 7), (7, 7), (7, 0)]


def test_an_output_half_way_ends_the_cuts() -> None:
    graph = [*CHAIN[:3], node("aux", "a"), node("out", "b")]
    assert layers(graph, "out", "aux") == ["a"]


def test_every_input_must_lie_before_a_cut() -> None:
    graph = [node("in"), node("a", "in"), node("age"), node("join", "a", "age"), node("out", "join")]
    assert layers(graph, "out") == ["join"]


def test_several_tensors_are_no_cut() -> None:
    graph = [CHAIN[0], CHAIN[1], LayerNode("b", ("a",), None, {}), CHAIN[3]]
    assert layers(graph, "out") == ["a"]


def test_an_unordered_graph_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="a stands before its input b"):
        valid_cuts([node("in"), node("a", "b"), node("b", "a")], ["b"])


def test_a_branch_is_refused_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match="cannot be cut at 'deep'") as caught:
        find_cut(RESIDUAL, ["out"], "deep")
    assert "stem and add" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("layer", "reason", "hint"),
    [
        ("in", "it is the photo", "the nearest valid cut is stem;"),
        ("out", "it gives the answer", "the nearest valid cut is pool;"),
    ],
)
def test_the_ends_of_a_network_are_refused_as_what_they_are(layer: str, reason: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be cut at '{layer}': {reason}") as caught:
        find_cut(RESIDUAL, ["out"], layer)
    assert caught.value.hint.startswith(hint)


def test_an_unknown_layer_is_refused_with_similar_names() -> None:
    with pytest.raises(ConfigError, match="no layer 'stm'") as caught:
        find_cut(RESIDUAL, ["out"], "stm")
    assert "stem" in caught.value.hint


def test_a_network_without_cuts_says_so() -> None:
    with pytest.raises(ConfigError, match="cannot be cut anywhere"):
        find_cut([node("in"), node("out", "in")], ["out"], "out")


def test_nearest_at_the_ends() -> None:
    assert nearest(["in", "x", "a"], ["a"], "in") == ["a"]
    assert nearest(["a", "x"], ["a"], "x") == ["a"]


@st.composite
def graphs(draw: st.DrawFn) -> list[LayerNode]:
    """A random graph with one input and one output, every node on a path between them."""
    size = draw(st.integers(3, 9))
    edges = {i: draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=3)) for i in range(1, size)}
    used = {source for sources in edges.values() for source in sources}
    edges[size - 1] |= {i for i in range(size - 1) if i not in used}
    return [node(str(i), *(str(s) for s in sorted(edges.get(i, ())))) for i in range(size)]


@given(graphs())
def test_a_cut_is_what_every_path_passes(graph: list[LayerNode]) -> None:
    paths: list[list[str]] = []

    def walk(name: str, behind: list[str]) -> None:
        path = [name, *behind]
        inputs = graph[int(name)].inputs
        for source in inputs:
            walk(source, path)
        if not inputs:
            paths.append(path)

    walk(graph[-1].name, [])
    through_all = [n.name for n in graph[1:-1] if all(n.name in path for path in paths)]
    assert layers(graph, graph[-1].name) == through_all
