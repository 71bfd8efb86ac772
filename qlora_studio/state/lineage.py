"""The lineage of an adapter, laid out: boxes in columns, the lines between them, and the same as a list."""

import asyncio
from dataclasses import dataclass, field

import reflex as rx

from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import lineage
from qlora_studio.services.lineage import Lineage, Node, NodeKind
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized

_ROW_PX, _BOX_PX = 84, 68
_COLUMN_PX = 148  # at least; a longer past scrolls
_FILLED = 0.8  # of a column's width by its box; lines have the rest
_HREFS = {
    NodeKind.DATASET: "/datasets/",
    NodeKind.JOB: "/training/",
    NodeKind.ADAPTER: "/adapters/",
    NodeKind.GENERATIONS: "/studio?adapter_id=",
}
_STEPS = {
    NodeKind.DATASET: "Dataset",
    NodeKind.JOB: "Job",
    NodeKind.ADAPTER: "Adapter",
    NodeKind.ELSEWHERE: "Origin",
    NodeKind.GENERATIONS: "Generations",
    NodeKind.DICTATION: "Transcripts",
    NodeKind.FEEDBACK: "Feedback",
}


@dataclass(frozen=True)
class Box:
    """One thing of the graph; `left`, `top` and `width` are CSS lengths, `after` names what it came of."""

    id: str
    kind: str
    step: str
    name: str
    detail: str
    href: str
    after: str
    left: str
    top: str
    width: str
    is_here: bool
    is_gone: bool


@dataclass(frozen=True)
class LineageView:
    """Boxes by column, then by row; `lines` are SVG paths, percent across and pixels down.

    `width` is the least that the columns need, in pixels.
    """

    boxes: list[Box] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    height: int = 0
    width: int = 0
    left_out: str = ""


class LineageState(rx.State):
    """The graph on an adapter's page."""

    graph: LineageView = LineageView()

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Lay out what the adapter came from and what came of it."""
        adapter_id = str(getattr(self, "adapter_id", "") or "")
        try:
            found = await asyncio.to_thread(_find, actor, adapter_id)
        except NotFound:  # which the page itself says
            self.graph = LineageView()
            return
        self.graph = lineage_view(found, adapter_id)


def lineage_view(graph: Lineage, adapter_id: str) -> LineageView:
    """Lay a lineage out: a column for each step that is there, each column's boxes in its middle."""
    columns: dict[int, list[Node]] = {}
    for node in graph.nodes:
        columns.setdefault(node.column, []).append(node)
    ordered = [columns[number] for number in sorted(columns)]
    height = _ROW_PX * max(map(len, ordered), default=0)
    share = 100 / max(1, len(ordered))
    names = {node.id: node.name for node in graph.nodes}
    places: dict[str, tuple[float, float]] = {}
    boxes: list[Box] = []
    for number, nodes in enumerate(ordered):
        top = (height - _ROW_PX * len(nodes)) / 2 + (_ROW_PX - _BOX_PX) / 2
        for row, node in enumerate(nodes):
            places[node.id] = (number * share, top + row * _ROW_PX)
            before = [names[edge.source] for edge in graph.edges if edge.target == node.id]
            boxes.append(_box(node, adapter_id, places[node.id], share, ", ".join(before)))
    lines = [_line(places[edge.source], places[edge.target], share) for edge in graph.edges]
    left_out = ""
    if graph.n_left_out:
        left_out = f"{formats.count(graph.n_left_out, 'older one')} left out."
    return LineageView(boxes, lines, height, _COLUMN_PX * len(ordered), left_out)


def _box(node: Node, adapter_id: str, place: tuple[float, float], share: float, after: str) -> Box:
    is_here = node.kind is NodeKind.ADAPTER and node.object_id == adapter_id
    is_link = node.kind in _HREFS and node.object_id is not None and not (node.is_gone or is_here)
    left, top = place
    return Box(
        id=node.id,
        kind=node.kind.value,
        step=_STEPS[node.kind],
        name=node.name,
        detail=node.detail,
        href=f"{_HREFS[node.kind]}{node.object_id}" if is_link else "",
        after=after,
        left=f"{left:.2f}%",
        top=f"{top:.0f}px",
        width=f"{share * _FILLED:.2f}%",
        is_here=is_here,
        is_gone=node.is_gone,
    )


def _line(source: tuple[float, float], target: tuple[float, float], share: float) -> str:
    x, y = source[0] + share * _FILLED, source[1] + _BOX_PX / 2
    to_x, to_y = target[0], target[1] + _BOX_PX / 2
    middle = (x + to_x) / 2
    return f"M{x:.2f} {y:.0f} C{middle:.2f} {y:.0f} {middle:.2f} {to_y:.0f} {to_x:.2f} {to_y:.0f}"


def _find(actor: User, adapter_id: str) -> Lineage:
    with db.read() as session:
        return lineage.get_lineage(session, actor=actor, adapter_id=adapter_id)
