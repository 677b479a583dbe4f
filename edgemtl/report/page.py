"""The pages of reports as jinja2 templates; everything they need is in them."""

from __future__ import annotations

from typing import Final

POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What a page may load: nothing but what it holds."""

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2126; background: #fff; margin: 0 auto; padding: 20px 28px 48px;
  max-width: 1240px; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 30px 0 8px; }
p.lead { margin: 0 0 16px; color: #4a5057; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 8px; }
.card { flex: 1 1 210px; border: 1px solid #d9dde1; border-radius: 6px; padding: 10px 14px; min-width: 0; }
.card b { display: block; font-size: 22px; font-weight: 600; }
.card span { color: #4a5057; font-size: 13px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #c3c9cf; padding: 4px 8px; position: sticky; top: 0;
  background: #fff; }
td { border-bottom: 1px solid #eceff1; padding: 3px 8px; }
td.name { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 22%; } td.bar i { display: block; height: 9px; background: #2b5c8a; border-radius: 2px; }
tr.below td.bar i, tr.first td.bar i { background: #c0392b; } tr.first td { background: #fdecea; }
tr.below td.sqnr, tr.first td.sqnr { color: #c0392b; font-weight: 600; }
details { margin-top: 8px; } summary { cursor: pointer; color: #2b5c8a; }
ul { columns: 2; font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
"""

COMPARISON_PAGE: Final = (
    f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{{{ comparison.b }}}} against {{{{ comparison.a }}}}: {{{{
comparison.task }}}}</title><style>{STYLE}</style></head><body>
"""
    + """<h1>{{ comparison.b }} against {{ comparison.a }}, task {{ comparison.task }}</h1>
<p class="lead">{{ comparison.layers|length }} layers on {{ comparison.images }} image{{
"s" if comparison.images != 1 }}. SQNR is the
power of {{ comparison.a }}, its mean left out, over the power of the difference.</p>
<div class="cards">
{% for title, figure, name in cards %}
<div class="card"><span>{{ title }}</span><b>{{ figure }}</b><span>{{ name }}</span></div>
{% endfor %}
</div>
{{ picture|safe }}
{% if comparison.routers %}
<h2>Expert choices</h2>
<table><tr><th>router</th><th class="n">same experts</th><th class="n">by weight</th><th class="n">choices</th></tr>
{% for router in comparison.routers %}
<tr><td class="name">{{ router.name }}</td><td class="n">{{ "%.2f%%"|format(100 * router.agreement) }}</td>
<td class="n">{{ "%.2f%%"|format(100 * router.weighted) }}</td><td class="n">{{ router.choices }}</td></tr>
{% endfor %}
</table>
{% endif %}
<h2>Layers</h2>
<table><tr><th class="n">#</th><th>layer</th><th class="n">SQNR</th><th></th><th class="n">cosine</th>
<th class="n">max abs</th></tr>
{% for row in rows %}
<tr class="{{ row.kind }}"><td class="n">{{ row.index }}</td><td class="name">{{ row.layer.name }}</td>
<td class="n sqnr">{{ row.sqnr }}</td><td class="bar"><i style="width: {{ "%.1f"|format(row.share) }}%"></i></td>
<td class="n">{{ "%.6f"|format(row.layer.cosine) }}</td><td class="n">{{ "%.3g"|format(row.layer.max_abs) }}</td></tr>
{% endfor %}
</table>
{% for side, names in ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b)) %}
{% if names %}
<details><summary>{{ names|length }} layers of {{ side }} alone, not compared</summary>
<ul>{% for name in names %}<li>{{ name }}</li>{% endfor %}</ul></details>
{% endif %}
{% endfor %}
{% if comparison.notes %}
<h2>Notes</h2>
{% for text in comparison.notes %}<p>{{ text }}</p>
{% endfor %}
{% endif %}
</body></html>
"""
)
