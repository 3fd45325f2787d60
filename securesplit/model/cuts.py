"""Where a network can be cut in two: the articulation points of its layer graph.

A layer is a valid cut when every path from the input to the output passes through it, for only then does its tensor
hold all that the tail needs. With the layers in topological order this is one sweep: the layer at place i is
an articulation point exactly when no edge jumps from before i to after i. (An edge that jumps gives a path around the
layer; a path around it must jump.)

Pure functions on names and numbers: no Keras here. `securesplit.model.splitting` makes the graph of a Keras model.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from securesplit.errors import ConfigError

FLOAT32_BYTES = 4
NO_CUTS = "this network cannot be cut anywhere: no layer has every path through it"


@dataclass(frozen=True)
class LayerNode:
    """One application of a layer.

    Attributes:
        name: unique in the graph.
        inputs: names of the nodes that it reads; empty for an input of the network.
        shape: of what it computes for one photo, without the batch axis; None: several tensors or no such axis, so
            never a cut.
        weights: by weight-owning layer, how many parameters; a layer applied twice counts once on a side.
        multiply_adds: for one photo, convolutions and dense layers only.
    """

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...] | None
    weights: Mapping[str, int]
    multiply_adds: int = 0


@dataclass(frozen=True)
class Cut:
    """A place to cut, and what lies on each side of it. Counts are for one photo."""

    layer: str
    shape: tuple[int, ...]
    head_parameters: int
    tail_parameters: int
    head_multiply_adds: int
    tail_multiply_adds: int

    @property
    def float32_bytes(self) -> int:
        """Size of the raw cut tensor."""
        return FLOAT32_BYTES * math.prod(self.shape)


def valid_cuts(graph: Sequence[LayerNode], outputs: Iterable[str]) -> list[Cut]:
    """Every cut of `graph`, from input to output; the input and the output themselves are none.

    Args:
        graph: in topological order; every node lies on a path from an input to an output.
        outputs: names of the nodes whose tensors the network answers with.

    Raises:
        ValueError: `graph` is in no topological order.
    """
    ends = set(outputs)
    return [_cut_at(graph, place) for place in _articulation_points(graph, ends) if graph[place].name not in ends]


def _articulation_points(graph: Sequence[LayerNode], ends: set[str]) -> list[int]:
    """Places that no edge jumps over, with one source before all inputs and one sink behind all outputs."""
    places = {node.name: place for place, node in enumerate(graph)}
    furthest = [len(graph) if node.name in ends else place for place, node in enumerate(graph)]
    for place, node in enumerate(graph):
        for name in node.inputs:
            if places[name] >= place:
                raise ValueError(f"{node.name} stands before its input {name}")
            furthest[places[name]] = max(furthest[places[name]], place)
    reached = max(place for place, node in enumerate(graph) if not node.inputs)
    found = []
    for place, node in enumerate(graph):
        if reached <= place and node.inputs and node.shape is not None:
            found.append(place)
        reached = max(reached, furthest[place])
    return found


def _cut_at(graph: Sequence[LayerNode], place: int) -> Cut:
    head, tail = graph[: place + 1], graph[place + 1 :]
    shape = graph[place].shape
    return Cut(
        layer=graph[place].name,
        shape=() if shape is None else shape,
        head_parameters=_parameters(head),
        tail_parameters=_parameters(tail),
        head_multiply_adds=sum(node.multiply_adds for node in head),
        tail_multiply_adds=sum(node.multiply_adds for node in tail),
    )


def _parameters(side: Iterable[LayerNode]) -> int:
    owners: dict[str, int] = {}
    for node in side:
        owners.update(node.weights)
    return sum(owners.values())


def find_cut(graph: Sequence[LayerNode], outputs: Collection[str], layer: str) -> Cut:
    """The cut at `layer`.

    Raises:
        ConfigError: no such layer, or the network cannot be cut there; the nearest valid cuts are named.
    """
    cuts = valid_cuts(graph, outputs)
    for cut in cuts:
        if cut.layer == layer:
            return cut
    names = [node.name for node in graph]
    if not cuts:
        raise no_cuts()
    if layer not in names:
        raise ConfigError(f"the network has no layer {layer!r}", hint=_similar(layer, [cut.layer for cut in cuts]))
    near = nearest(names, [cut.layer for cut in cuts], layer)
    nearest_are = f"nearest valid cuts are {near[0]} and {near[1]}" if near[1:] else f"nearest valid cut is {near[0]}"
    raise ConfigError(
        f"the network cannot be cut at {layer!r}: {_why_not(graph[names.index(layer)], outputs)}",
        hint=f"the {nearest_are}; `securesplit cuts NETWORK` lists all",
    )


def _why_not(node: LayerNode, outputs: Collection[str]) -> str:
    """Why a layer of a network that can be cut elsewhere is no cut."""
    if not node.inputs:
        return "it is the photo"
    if node.name in outputs:
        return "it gives the answer, and nothing would be left for the worker"
    if node.shape is None:
        return "it gives no one tensor of a fixed shape for each photo"
    return "not every path passes through it"


def no_cuts() -> ConfigError:
    """What refuses a network without any cut."""
    return ConfigError(NO_CUTS, hint="of several networks side by side, save and split one")


def nearest(names: Sequence[str], cuts: Sequence[str], layer: str) -> list[str]:
    """The last valid cut before `layer` and the first one after it, where there is one."""
    valid, place = set(cuts), names.index(layer)
    before = [name for name in names[:place] if name in valid][-1:]
    after = [name for name in names[place + 1 :] if name in valid][:1]
    return before + after


def _similar(layer: str, cuts: Sequence[str]) -> str:
    close = difflib.get_close_matches(layer, cuts, n=2, cutoff=0.0)
    return f"valid cuts of a similar name: {', '.join(close)}; `securesplit cuts NETWORK` lists all"
