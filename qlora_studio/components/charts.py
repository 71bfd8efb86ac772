"""Curves of a job and bars of a dataset, drawn by plotly in the browser from what the state sends.

The figure (axes, traces, hover, template) is built here, with plotly's Python, when the page is compiled; at
run time only points travel. Its colours are the names of our tokens, which the browser fills in, so that one
figure serves light and dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import reflex as rx

from qlora_studio.frontend.scripts import script

_LIBRARY = script("live_chart.jsx", __name__)
_VIEW = script("chart_view.jsx", __name__)
script("chart_detail.jsx", __name__)  # what they import
script("chart_zoom.jsx", __name__)
_BARS = script("bar_chart.jsx", __name__)
_PLOTLY = "plotly.js-basic-dist-min@3.7.0"

Kind = Literal["number", "percent", "bytes", "rate"]
_TICKS: dict[str, dict[str, Any]] = {
    "number": {"tickformat": "~g"},
    "percent": {"tickformat": ".0%", "rangemode": "tozero"},
    "bytes": {"tickformat": ".3~s", "ticksuffix": "B", "rangemode": "tozero"},
    "rate": {"tickformat": "~g", "rangemode": "tozero"},
}
_AXES: dict[str, dict[str, Any]] = {
    "step": {"tickformat": ",d", "unifiedhovertitle": {"text": "Step %{x:,}"}},
    "epoch": {"tickformat": "~g", "unifiedhovertitle": {"text": "Epoch %{x:.2f}"}},
    "time": {"type": "date", "unifiedhovertitle": {"text": "%{x|%d %b, %H:%M:%S}"}},
    "elapsed": {"tickformat": "~g"},
}
_HOVER: dict[str, str] = {
    "number": "%{y:.4~g}",
    "percent": "%{y:.2%}",
    "bytes": "%{y:.4~s}B",
    "rate": "%{y:.3~g}",
}


@dataclass(frozen=True)
class Trace:
    """One curve of a chart: its key in the metrics store, its name for people, its colour's token.

    `dots` marks each point (evaluations: few and far between) and is never smoothed. `run` is the number of
    the run among several, whose name the curve then has; its points come under `<run>/<key>`.
    """

    key: str
    name: str
    color: str = "--chart-1"
    dots: bool = False
    run: int | None = None

    @property
    def curve(self) -> str:
        """The name under which its points come from the state."""
        return self.key if self.run is None else f"{self.run}/{self.key}"


class LiveChart(rx.NoSSRComponent):
    """A chart whose points come from the state: `curves` whole, `tail` what came since.

    `runs` are several jobs in one chart, each with `id`, `name`, `start` (seconds since the epoch) and `epochs`
    (in one step); without them it is the one job of `job_id` and `epochs`.
    """

    library = _LIBRARY
    tag = "LiveChart"
    lib_dependencies: list[str] = [_PLOTLY]

    figure: rx.Var[dict[str, Any]]
    curves: rx.Var[dict[str, dict[str, list[float | None]]]]
    tail: rx.Var[dict[str, dict[str, list[float | None]]]]
    base: rx.Var[float]
    job_id: rx.Var[str]
    epochs: rx.Var[float]
    runs: rx.Var[list[dict[str, Any]]]
    label: rx.Var[str]
    height: rx.Var[int]

    def add_custom_code(self) -> list[str]:
        """Fetch plotly while the page still waits for its data: its charts are drawn with the first of it."""
        return [f'if (typeof window !== "undefined") import("{_LIBRARY}").then((m) => m.loadPlotly());']


class ChartControls(rx.NoSSRComponent):
    """What charts run over, smoothing and scale, for all charts of the page."""

    library = _VIEW
    tag = "ChartControls"

    with_epochs: rx.Var[bool]


class BarChart(rx.NoSSRComponent):
    """Bars that come from the state whole; they are few."""

    library = _BARS
    tag = "BarChart"
    lib_dependencies: list[str] = [_PLOTLY]

    figure: rx.Var[dict[str, Any]]
    bars: rx.Var[dict[str, list[Any]]]
    lines: rx.Var[list[float]]
    label: rx.Var[str]
    height: rx.Var[int]


def bar_chart(
    *,
    label: Any,
    bars: Any,
    lines: Any = None,
    unit: str = "",
    lying: bool = False,
    by_day: bool = False,
    height: Any = 220,
) -> rx.Component:
    """A histogram, a ranking with names at the left (`lying`), or a bar for each day (`by_day`).

    Args:
        label: what it shows, in a sentence, for screen readers.
        bars: Var of plotly's `x`, `y`, `width` and `customdata` (what the hover says before the count). Names
            in it must be escaped: plotly reads markup. By day it says all that the hover does.
        lines: Var of places on the x axis that are marked.
        unit: stands at the x axis.
    """
    figure = build_bars(unit=unit, lying=lying, by_day=by_day)
    return BarChart.create(
        figure=figure, bars=bars, lines=[] if lines is None else lines, label=label, height=height
    )


@lru_cache(maxsize=8)
def build_bars(*, unit: str, lying: bool, by_day: bool = False) -> dict[str, Any]:
    """Return a figure without bars, as plain JSON values."""
    import plotly.graph_objects as go

    count = "x" if lying else "y"
    said = "%{x|%d %b}: %{customdata}" if by_day else f"%{{customdata}}: %{{{count}:,}} clips"
    bars = go.Bar(
        orientation="h" if lying else "v",
        marker={"color": "var(--chart-1)"},
        hovertemplate=f"{said}<extra></extra>",
    )
    fixed = {"fixedrange": True}
    layout: dict[str, Any] = {
        "template": _template(),
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "bargap": 0.25 if lying or by_day else 0.04,
    }
    if lying:
        layout |= {
            "xaxis": {**fixed, "showgrid": True, "rangemode": "tozero"},
            "yaxis": {**fixed, "autorange": "reversed", "showgrid": False, "type": "category", "nticks": 0},
        }
    elif by_day:
        layout |= {
            "xaxis": {**fixed, "type": "date", "tickformat": "%d %b", "nticks": 6, "ticklabelstandoff": 4},
            "yaxis": {**fixed, "rangemode": "tozero", "tickformat": ",~r", "nticks": 5},
        }
    else:
        layout |= {
            "xaxis": {**fixed, "ticksuffix": f" {unit}" if unit else "", "tickformat": "~g"},
            "yaxis": {**fixed, "rangemode": "tozero"},
        }
    return go.Figure(data=[bars], layout=layout).to_plotly_json()


def chart_controls(*, with_epochs: Any = True) -> rx.Component:
    """Steps, epochs or time, smoothing, and log scale of every chart on the page; the browser remembers them."""
    return ChartControls.create(with_epochs=with_epochs)


def live_chart(
    traces: Sequence[Trace],
    *,
    label: str,
    curves: Any,
    tail: Any,
    job_id: Any = "",
    epochs: Any = 0.0,
    runs: Any = None,
    kind: Kind = "number",
    unit: str = "",
    base: Any = 0.0,
    by_time: bool = False,
    height: int = 260,
) -> rx.Component:
    """A chart of one or more curves.

    Args:
        curves: Var of {key: {"x": steps, "t": seconds since the epoch, "y": values}}.
        tail: Var of the same form: the points that came after `curves`.
        job_id: Var of the job whose curves they are.
        epochs: Var of how much of an epoch a step of it is, 0 where that is not known.
        runs: Var of several jobs instead, see `LiveChart`; the traces then say which is whose.
        kind: how values are written.
        unit: stands behind a value on hover.
        base: Var of a value drawn as a dotted line ("base model"); 0 for none.
        by_time: always over the clock, as machine curves are.
    """
    jobs = {"job_id": job_id, "epochs": epochs} if runs is None else {"runs": runs}
    return LiveChart.create(
        figure=build_figure(tuple(traces), kind=kind, unit=unit, by_time=by_time),
        curves=curves,
        tail=tail,
        base=base,
        label=label,
        height=height,
        **jobs,
    )


@lru_cache(maxsize=64)
def build_figure(traces: tuple[Trace, ...], *, kind: Kind, unit: str, by_time: bool) -> dict[str, Any]:
    """Return a figure without points, as plain JSON values. Each trace's `meta` names its curve."""
    import plotly.graph_objects as go

    suffix = f" {unit}" if unit else ""
    figure = go.Figure(
        data=[
            go.Scatter(
                name=trace.name,
                mode="lines+markers" if trace.dots else "lines",
                line={"color": f"var({trace.color})", "width": 1.8},
                marker={"color": f"var({trace.color})", "size": 6},
                connectgaps=False,
                hovertemplate=f"{_HOVER[kind]}{suffix}<extra>%{{fullData.name}}</extra>",
                meta={
                    "key": trace.key,
                    "curve": trace.curve,
                    "run": trace.run or 0,
                    "exact": trace.dots,
                },
            )
            for trace in traces
        ],
        layout={
            "template": _template(),
            "meta": {
                "log": kind in ("number", "rate") and not by_time,
                "time": by_time,
                "axes": _AXES,
            },
            "showlegend": len(traces) > 1,
            "yaxis": _TICKS[kind],
        },
    )
    return figure.to_plotly_json()


@lru_cache(maxsize=1)
def _template() -> Any:
    """Our tokens as a plotly template: the page's font, hairline grid, legend on top."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": "var(--border)",
        "linecolor": "var(--border)",
        "zeroline": False,
        "ticks": "",
        "nticks": 6,
        "tickfont": {"color": "var(--muted-foreground)", "size": 11},
        "automargin": True,
    }
    return go.layout.Template(
        layout={
            "font": {"family": "Inter Variable, ui-sans-serif, system-ui, sans-serif", "size": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "hovermode": "x unified",
            "hoverlabel": {
                "bgcolor": "var(--popover)",
                "bordercolor": "var(--border)",
                "font": {"color": "var(--foreground)", "size": 12},
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"color": "var(--foreground)", "size": 12},
            },
            "dragmode": "zoom",
            "xaxis": {**axis, "showgrid": False},
            "yaxis": {**axis, "fixedrange": True},
        }
    )
