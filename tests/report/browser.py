"""A page in a real browser without a screen or a network: what it drew, where, and what it complained of."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROBE = """
<pre id="probe"></pre><script>
function box(e) { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }
function shown(e) { return {text: e.textContent, box: box(e)}; }
function look() {
  const charts = [...document.querySelectorAll(".js-plotly-plot")].map(e => ({
    id: e.id, box: box(e),
    marks: e.querySelectorAll(".point, .points path, .scatterlayer .js-line, .heatmaplayer image, .hm image").length,
    titles: [...e.querySelectorAll(".xtitle, .ytitle")].map(shown),
    ticks: [...e.querySelectorAll(".xaxislayer-above text, .yaxislayer-above text")].map(shown),
    legend: [...e.querySelectorAll(".legend .traces")].map(shown), plot: [...e.querySelectorAll(".nsewdrag")].map(box),
  }));
  const texts = [...document.querySelectorAll("h1, h2, h3, p, .card span, .card b, nav a")].map(
    e => ({...shown(e), clipped: e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display == "block"}));
  const cells = [...document.querySelectorAll("td, th")].map(e => ({text: e.textContent.trim(),
    clipped: e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2}));
  const found = {charts, texts, cells, width: document.documentElement.scrollWidth, window: innerWidth};
  document.getElementById("probe").textContent = JSON.stringify(found);
}
addEventListener("load", () => setTimeout(look, 500));
</script></body>
"""


@dataclass(frozen=True)
class Seen:
    """What the probe found, and every line of the console."""

    found: dict[str, Any]
    console: tuple[str, ...]


def open_page(text: str, folder: Path, width: int = 1400) -> Seen:
    """Open ``text`` as a page; skips the test where there is no Chromium."""
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("no chromium: the page cannot be opened")
    page = folder / "page.html"
    page.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},4000", "--virtual-time-budget=30000",
        "--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run",
        f"--user-data-dir={folder / 'browser'}", "--dump-dom",
    ]  # fmt: skip
    ran = subprocess.run([binary, *flags, page.as_uri()], capture_output=True, text=True, timeout=180, check=True)
    probe = re.search(r'<pre id="probe">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert probe is not None, f"there is no page: {ran.stderr[-2000:]}"
    assert probe[1], f"the page never finished loading: {ran.stderr[-2000:]}"
    console = tuple(line for line in ran.stderr.splitlines() if "CONSOLE" in line)
    return Seen(json.loads(html.unescape(probe[1])), console)
