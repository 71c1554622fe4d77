"""Where the cores, bonds and modes of one term lie in the plane."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ..errors import TensorMoEError
from ..networks.network import Core
from ..networks.notation import INPUT, OUTPUT, is_mode
from ..networks.splits import is_part
from ..typing import NumPyArray

if TYPE_CHECKING:
    import networkx

# Inches between two cores, from a core to the point where a hyperedge meets, and of a mode's line.
BETWEEN, SPOKE, LEG = 0.85, 0.5, 0.5
# A core's circle, and the least between the middles of two, which enlarges what would lie closer.
RADIUS = 0.15
APART, NAMED, TOO_CLOSE = 0.45, 0.68, 0.05
# What a free end keeps from the middle of a core.
CLEAR = 0.35
# How far a line bows to one side for each unit of its bend, and the bends that may lead around a core.
_BOW, _BENDS = 0.28, (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5)
# Of the circle around a meeting point, what each core on it takes.
ROOM = 0.42


@dataclass(frozen=True)
class Node:
    """A core, the point where a hyperedge meets, or the free end of a mode's line."""

    kind: str  # "core", "point" or "end"
    name: str


@dataclass(frozen=True)
class Line:
    """A line between two nodes, given by their positions in the list of nodes.

    `bend` tells lines between the same two cores apart: 0 is straight, the others bow to one side.
    """

    start: int
    end: int
    index: str
    bend: float = 0.0


@dataclass(frozen=True)
class Diagram:
    """One term: nodes, lines, and where each node lies, (nodes, 2) in inches."""

    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    places: NumPyArray


def lay_out(cores: Sequence[Core]) -> Diagram:
    """Place one term: inputs to the left, outputs to the right and experts above, as far as its shape allows.

    Raises:
        TensorMoEError: networkx is not installed.
    """
    nodes = [Node("core", core.name) for core in cores]
    lines: list[Line] = []
    bundles: Counter[tuple[int, int]] = Counter()
    for index in dict.fromkeys(name for core in cores for name in core.indices):
        carriers = [number for number, core in enumerate(cores) if index in core.indices]
        if not mode_of(index) and len(carriers) == 2:
            pair = (carriers[0], carriers[1])
            lines.append(Line(*pair, index, bend=bundles[pair]))
            bundles[pair] += 1
            continue
        meeting = carriers[0]
        if len(carriers) > 1:
            meeting = len(nodes)
            nodes.append(Node("point", index))
            lines += [Line(meeting, core, index) for core in carriers]
        if mode_of(index) or len(carriers) == 1:
            lines.append(Line(meeting, len(nodes), index))
            nodes.append(Node("end", index))
    spread = [_spread(line, bundles) for line in lines]
    places = _place(nodes, spread)
    _fan_out(places, nodes, spread)
    places = _turn(places, nodes)
    drawn = {number: place for number, place in enumerate(places) if nodes[number].kind == "core"}
    apart = [_lead_around(line, places, drawn) for line in spread]
    return Diagram(tuple(nodes), tuple(apart), places)


def mode_of(index: str) -> str:
    """Which mode an index is, or is a part of: i, o, or n of any level; nothing for a bond."""
    return index[0] if is_mode(index) or is_part(index) else ""


def bow(start: NumPyArray, end: NumPyArray, bend: float) -> NumPyArray:
    """25 points of a quadratic Bézier curve, (25, 2), whose middle lies `bend` beside the straight line's."""
    along = end - start
    control = (start + end) / 2 + 2 * _BOW * bend * np.array([-along[1], along[0]])
    step = np.linspace(0, 1, 25)[:, None]
    curve: NumPyArray = (1 - step) ** 2 * start + 2 * step * (1 - step) * control + step**2 * end
    return curve


def _spread(line: Line, bundles: Counter[tuple[int, int]]) -> Line:
    """Parallel lines, symmetric about the straight one."""
    count = bundles[line.start, line.end]
    return Line(line.start, line.end, line.index, line.bend - (count - 1) / 2) if count > 1 else line


def _place(nodes: Sequence[Node], lines: Sequence[Line]) -> NumPyArray:
    """Places whose distances are near the lengths of the lines (Kamada and Kawai, 1989)."""
    networkx = _library()
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(nodes)))
    meeting = Counter(line.start for line in lines if nodes[line.end].kind == "core")
    for line in lines:
        spoke = max(SPOKE, meeting[line.start] * ROOM / (2 * np.pi))
        kinds = {nodes[line.start].kind, nodes[line.end].kind}
        length = LEG if "end" in kinds else spoke if "point" in kinds else BETWEEN
        graph.add_edge(line.start, line.end, length=length)
    placed, right = np.zeros((len(nodes), 2)), 0.0
    for component in networkx.connected_components(graph):
        # Started on a circle in the notation's order, each core beside its modes, the same network always
        # looks the same, and a ring is a ring.
        part = sorted(component, key=lambda node: (min(node, *graph[node]), node))
        own = graph.subgraph(part)
        distances = dict(networkx.shortest_path_length(own, weight="length"))
        placing = networkx.kamada_kawai_layout(own, dist=distances, pos=networkx.circular_layout(part))
        places = np.array([placing[node] for node in part])
        asked = sum(length for _, _, length in own.edges(data="length"))
        places *= asked / sum(np.hypot(*(placing[a] - placing[b])) for a, b in own.edges)
        places *= max(1.0, *_lacking(own, dict(zip(part, places, strict=True)), nodes))
        places -= places.min(axis=0)
        placed[part] = places + np.array([right, 0.0])
        right += float(np.ptp(places, axis=0)[0]) + BETWEEN
    return placed


def _lead_around(line: Line, places: NumPyArray, cores: Mapping[int, NumPyArray]) -> Line:
    """The line, bent if it would run through a core that it does not join: it would seem to end there."""
    others = np.array([place for number, place in cores.items() if number not in (line.start, line.end)])
    if not len(others):
        return line

    def distance(bend: float) -> float:
        curve = bow(places[line.start], places[line.end], bend)
        return float(np.linalg.norm(curve[:, None] - others, axis=-1).min())

    bends = [line.bend + bend for bend in _BENDS]
    clear = next((bend for bend in bends if distance(bend) > 1.2 * RADIUS), None)
    return replace(line, bend=max(bends, key=distance) if clear is None else clear)


def _lacking(
    graph: "networkx.Graph", places: Mapping[int, NumPyArray], nodes: Sequence[Node]
) -> Iterator[float]:
    """By how much each two cores lie too close; a bond between them has room for its name."""
    cores = [node for node in places if nodes[node].kind == "core"]
    for a, b in combinations(cores, 2):
        distance = float(np.hypot(*(places[a] - places[b])))
        yield (NAMED if graph.has_edge(a, b) else APART) / max(distance, TOO_CLOSE)
    yield 1.0


def _fan_out(places: NumPyArray, nodes: Sequence[Node], lines: Sequence[Line]) -> None:
    """Put the free ends of each node into the widest gap between its other lines in which no core is near."""
    cores = [number for number, node in enumerate(nodes) if node.kind == "core"]
    for number, node in enumerate(nodes):
        own = [line for line in lines if number in (line.start, line.end)]
        others = [line.start + line.end - number for line in own]
        ends = [other for other in others if nodes[other].kind == "end"]
        inner = [other for other in others if nodes[other].kind != "end"]
        if node.kind == "end" or not ends or not inner:
            continue
        offsets = places[inner] - places[number]
        angles = np.sort(np.arctan2(offsets[:, 1], offsets[:, 0]))
        gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
        steps = np.arange(1, len(ends) + 1) / (len(ends) + 1)
        turned = [angles[gap] + gaps[gap] * steps for gap in gaps.argsort()[::-1]]
        legs = [LEG * np.stack([np.cos(each), np.sin(each)], axis=1) for each in turned]
        near = places[[core for core in cores if core != number]]
        free = [_distance(places[number] + each, near) for each in legs]
        best = next((gap for gap, distance in enumerate(free) if distance > CLEAR), int(np.argmax(free)))
        places[ends] = places[number] + legs[best]


def _distance(points: NumPyArray, others: NumPyArray) -> float:
    """The least distance from a point to another."""
    return float(np.linalg.norm(points[:, None] - others, axis=-1).min(initial=np.inf))


def _turn(places: NumPyArray, nodes: list[Node]) -> NumPyArray:
    """Turn and mirror so that the input's line ends to the left of the output's, and experts' lie above."""
    ends: dict[str, list[int]] = {}
    for number, node in enumerate(nodes):
        if node.kind == "end":
            ends.setdefault(mode_of(node.name), []).append(number)
    centre = places.mean(axis=0)
    sides = [places[ends[mode]].mean(axis=0) if mode in ends else centre for mode in (INPUT, OUTPUT)]
    x, y = sides[1] - sides[0]
    length = np.hypot(x, y) or 1.0
    turned: NumPyArray = (places - centre) @ np.array([[x, -y], [y, x]]) / length
    if "n" in ends and turned[ends["n"], 1].mean() < 0:
        turned[:, 1] *= -1
    return turned


def _library() -> "networkx":
    try:
        import networkx
    except ImportError as error:
        remedy = f'pictures of networks need it ({error}): pip install "tensormoe[pictures]"'
        raise TensorMoEError("networkx", None, remedy) from error
    return networkx
