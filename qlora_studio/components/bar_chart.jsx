// Bars, drawn once: a histogram or a ranking. Plotly and the tokens' colours are those of the curves.
import { useEffect, useRef, useState } from "react";
import { loadPlotly, withColours } from "./live_chart.jsx";

export function BarChart({ figure, bars, lines, label, height = 220 }) {
  const element = useRef(null);
  const drawnBy = useRef(null);
  const [isVisible, setVisible] = useState(false);
  const [theme, setTheme] = useState(0);

  useEffect(() => {
    const node = element.current;
    const seen = new IntersectionObserver(([entry]) => entry.isIntersecting && setVisible(true), {
      rootMargin: "600px",
    });
    seen.observe(node);
    const themed = new MutationObserver(() => setTheme((count) => count + 1));
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    return () => {
      seen.disconnect();
      themed.disconnect();
      drawnBy.current?.purge(node);
    };
  }, []);

  useEffect(() => {
    if (!isVisible) return;
    let isCurrent = true;
    loadPlotly().then((Plotly) => {
      if (!isCurrent || !element.current) return;
      drawnBy.current = Plotly;
      const shapes = (lines ?? []).map((at) => ({
        type: "line",
        yref: "paper",
        x0: at,
        x1: at,
        y0: 0,
        y1: 1,
        line: { color: "var(--warning)", width: 1.5, dash: "dot" },
      }));
      const data = [{ ...figure.data[0], ...bars }];
      const layout = { ...figure.layout, shapes, height };
      const options = { displayModeBar: false, displaylogo: false, responsive: true };
      Plotly.react(element.current, withColours(data), withColours(layout), options);
    });
    return () => {
      isCurrent = false;
    };
  }, [isVisible, bars, lines, theme, figure, height]);

  return <div ref={element} role="img" aria-label={label} className="live-chart" style={{ width: "100%", height }} />;
}
