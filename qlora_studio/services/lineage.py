"""Where an adapter comes from and what came of it: dataset, job, what it made, feedback, next dataset."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func
from sqlmodel import Session, col, or_, select

from qlora_studio.core.ids import new_id
from qlora_studio.db.models import (
    Adapter,
    Clip,
    Dataset,
    Dictation,
    Generation,
    Job,
    PreferenceVote,
    Take,
    User,
)
from qlora_studio.services import adapters, lineage_feedback
from qlora_studio.services.access import Action

MOST = 6  # of one kind, the newest
_TAKE_ID = len(new_id("take"))
_BEFORE, _MADE_BEFORE, _SAID_BEFORE, _DATASET, _JOB, _ADAPTER, _MADE, _FEEDBACK, _NEXT = range(-3, 6)


class NodeKind(StrEnum):
    """What a node stands for; `elsewhere` is an adapter's own past outside the studio."""

    DATASET = "dataset"
    JOB = "job"
    ADAPTER = "adapter"
    ELSEWHERE = "elsewhere"
    GENERATIONS = "generations"
    DICTATION = "dictation"
    FEEDBACK = "feedback"


class Node(BaseModel):
    """One thing. `column` counts steps from the dataset; `is_gone` says that it has been deleted."""

    id: str
    kind: NodeKind
    column: int
    object_id: str | None
    name: str
    detail: str = ""
    is_gone: bool = False


class Edge(BaseModel):
    """The second thing came of the first; both are ids of nodes."""

    source: str
    target: str


class Lineage(BaseModel):
    """A graph without rounds. `n_left_out` counts what is older than the newest few of its kind."""

    nodes: list[Node] = []
    edges: list[Edge] = []
    n_left_out: int = 0

    def add(self, node: Node, *, after: Node | None = None, before: Node | None = None) -> Node:
        """Add a node, and an edge from `after` or to `before`."""
        self.nodes.append(node)
        if after is not None:
            self.edges.append(Edge(source=after.id, target=node.id))
        if before is not None:
            self.edges.append(Edge(source=node.id, target=before.id))
        return node


def get_lineage(session: Session, *, actor: User, adapter_id: str) -> Lineage:
    """Return an adapter with what it came from and what came of it.

    Raises:
        NotFound: it isn't the actor's.
    """
    view = adapters.get_view(session, actor=actor, adapter_id=adapter_id, action=Action.SEE)
    graph = Lineage()
    here = graph.add(_adapter_node(view.adapter, _ADAPTER))
    _add_past(session, graph, view.adapter, here)
    _add_generations(session, graph, view.adapter, here)
    _add_dictations(session, graph, view.adapter, here)
    _add_trained_on(session, graph, view.adapter, here)
    return graph


def _adapter_node(adapter: Adapter, column: int) -> Node:
    return _node(NodeKind.ADAPTER, column, adapter.id, adapter.name, f"Version {adapter.version}")


def _node(kind: NodeKind, column: int, object_id: str, name: str, detail: str = "") -> Node:
    key = f"{kind.value}:{object_id}"
    return Node(id=key, kind=kind, column=column, object_id=object_id, name=name, detail=detail)


def _gone(kind: NodeKind, column: int, object_id: str, detail: str = "") -> Node:
    name = f"{kind.value.capitalize()} deleted"
    return _node(kind, column, object_id, name, detail).model_copy(update={"is_gone": True})


def _add_past(session: Session, graph: Lineage, adapter: Adapter, here: Node) -> None:
    if adapter.origin.get("kind") == "imported":
        name = str(adapter.origin.get("file") or "Made elsewhere")
        graph.add(_node(NodeKind.ELSEWHERE, _JOB, adapter.id, name, "Made elsewhere"), before=here)
        return
    job = session.get(Job, adapter.job_id) if adapter.job_id else None
    if job is None:
        made_by = graph.add(_gone(NodeKind.JOB, _JOB, adapter.job_id or "none"), before=here)
    else:
        method = job.training_type.value
        made_by = graph.add(_node(NodeKind.JOB, _JOB, job.id, job.name, method), before=here)
    dataset_id = adapter.dataset_id or (job.dataset_id if job else None)
    version = f"Version {adapter.dataset_version}"
    dataset = session.get(Dataset, dataset_id) if dataset_id else None
    if dataset is None:
        graph.add(_gone(NodeKind.DATASET, _DATASET, dataset_id or "none", version), before=made_by)
    else:
        node = graph.add(_node(NodeKind.DATASET, _DATASET, dataset.id, dataset.name, version), before=made_by)
        if lineage_feedback.is_of_feedback(dataset):
            _add_feedback_before(session, graph, adapter, dataset, node)
    start_id = job.spec.get("start_adapter_id") if job else None
    if start_id:
        start = session.get(Adapter, start_id)
        is_there = start is not None and start.owner_id == adapter.owner_id
        node = _adapter_node(start, _DATASET) if start and is_there else None
        graph.add(node or _gone(NodeKind.ADAPTER, _DATASET, start_id), before=made_by)


def _add_feedback_before(
    session: Session, graph: Lineage, adapter: Adapter, dataset: Dataset, here: Node
) -> None:
    """The feedback that a dataset was made of, the takes that it was given to, and the adapters before."""
    makers = lineage_feedback.find_makers(session, dataset, version=adapter.dataset_version)
    n_takes = sum(one.n_takes for one in makers)
    said, takes = lineage_feedback.describe(dataset), f"{n_takes:,} take" + "s" * (n_takes != 1)
    feedback = graph.add(_node(NodeKind.FEEDBACK, _SAID_BEFORE, dataset.id, said, takes), before=here)
    graph.n_left_out += max(0, len(makers) - MOST)
    for one in makers[:MOST]:
        made = _generations_node(_MADE_BEFORE, one.adapter_id, one.n_generations, one.n_takes)
        graph.add(made, before=feedback)
        if one.adapter_id is None:
            continue
        is_there = one.adapter is not None and one.adapter.owner_id == adapter.owner_id
        node = _adapter_node(one.adapter, _BEFORE) if one.adapter and is_there else None
        graph.add(node or _gone(NodeKind.ADAPTER, _BEFORE, one.adapter_id), before=made)


def _generations_node(column: int, adapter_id: str | None, n: int, n_takes: int) -> Node:
    name = f"{n:,} generation" + "s" * (n != 1)
    node = _node(
        NodeKind.GENERATIONS, column, adapter_id or "", name, f"{n_takes:,} take" + "s" * (n_takes != 1)
    )
    return node.model_copy(update={"id": f"{node.id}:{column}", "object_id": adapter_id})


def _add_generations(session: Session, graph: Lineage, adapter: Adapter, here: Node) -> None:
    made = (Generation.owner_id == adapter.owner_id, Generation.adapter_id == adapter.id)
    asked = select(func.count(), func.coalesce(func.sum(Generation.n_done), 0)).where(*made)
    n, n_takes = session.exec(asked).one()
    if not n:
        return
    node = graph.add(_generations_node(_MADE, adapter.id, n, n_takes), after=here)
    takes_of = select(Take.id).join(Generation, col(Generation.id) == Take.generation_id).where(*made)
    rated = select(func.coalesce(func.sum(Take.n_ratings), 0)).join(
        Generation, col(Generation.id) == Take.generation_id
    )
    n_ratings = session.exec(rated.where(*made)).one()
    ids = takes_of.scalar_subquery()
    shown = or_(col(PreferenceVote.first_take_id).in_(ids), col(PreferenceVote.second_take_id).in_(ids))
    n_votes = session.exec(select(func.count()).select_from(PreferenceVote).where(shown)).one()
    last = node
    if n_ratings or n_votes:
        last = graph.add(_feedback_node(adapter, n_ratings, n_votes), after=node)
    _add_datasets_of_takes(session, graph, adapter, last)


def _feedback_node(adapter: Adapter, n_ratings: int, n_votes: int) -> Node:
    ratings = f"{n_ratings:,} rating" + "s" * (n_ratings != 1)
    votes = f"{n_votes:,} vote" + "s" * (n_votes != 1)
    return _node(NodeKind.FEEDBACK, _FEEDBACK, adapter.id, ratings, votes)


def _add_datasets_of_takes(session: Session, graph: Lineage, adapter: Adapter, after: Node) -> None:
    """Datasets from feedback that hold a take of the adapter's; their clips are called after takes."""
    takes = select(Take.id).join(Generation, col(Generation.id) == Take.generation_id)
    takes = takes.where(Generation.owner_id == adapter.owner_id, Generation.adapter_id == adapter.id)
    held = select(Clip.dataset_id).where(func.substr(Clip.filename, 1, _TAKE_ID).in_(takes))
    from_feedback = col(Dataset.source)["kind"].as_string() == "feedback"
    found = select(Dataset).where(Dataset.owner_id == adapter.owner_id, from_feedback)
    for dataset in _newest(session, graph, found.where(col(Dataset.id).in_(held)), Dataset):
        node = _node(NodeKind.DATASET, _NEXT, dataset.id, dataset.name, f"Version {dataset.version}")
        if any(other.id == node.id for other in graph.nodes):  # a later version of what it was trained on
            node = node.model_copy(update={"id": f"{node.id}:{dataset.version}"})
        graph.add(node, after=after)


def _add_dictations(session: Session, graph: Lineage, adapter: Adapter, here: Node) -> None:
    made = select(Dictation).where(Dictation.owner_id == adapter.owner_id, Dictation.adapter_id == adapter.id)
    for one in _newest(session, graph, made, Dictation):
        name = f"{one.n_done:,} clip" + "s" * (one.n_done != 1) + " written down"
        written = graph.add(_node(NodeKind.DICTATION, _MADE, one.id, name), after=here)
        if not one.n_checked:
            continue
        checked = f"{one.n_checked:,} text" + "s" * (one.n_checked != 1) + " checked"
        feedback = graph.add(_node(NodeKind.FEEDBACK, _FEEDBACK, one.id, checked), after=written)
        came = col(Dataset.source)["dictation_id"].as_string() == one.id
        found = select(Dataset).where(Dataset.owner_id == adapter.owner_id, came)
        for dataset in _newest(session, graph, found, Dataset):
            node = _node(NodeKind.DATASET, _NEXT, dataset.id, dataset.name, f"Version {dataset.version}")
            if all(other.id != node.id for other in graph.nodes):
                graph.add(node, after=feedback)


def _add_trained_on(session: Session, graph: Lineage, adapter: Adapter, here: Node) -> None:
    from_here = col(Job.spec)["start_adapter_id"].as_string() == adapter.id
    found = select(Job).where(Job.owner_id == adapter.owner_id, from_here)
    for job in _newest(session, graph, found, Job):
        node = graph.add(_node(NodeKind.JOB, _MADE, job.id, job.name, "Trains it on"), after=here)
        left = session.exec(select(Adapter).where(Adapter.job_id == job.id)).first()
        if left is not None:
            graph.add(_adapter_node(left, _FEEDBACK), after=node)


def _newest(session: Session, graph: Lineage, found: Any, table: Any) -> list[Any]:
    total = session.exec(select(func.count()).select_from(found.subquery())).one()
    graph.n_left_out += max(0, total - MOST)
    return list(session.exec(found.order_by(col(table.created_at).desc(), col(table.id)).limit(MOST)))
