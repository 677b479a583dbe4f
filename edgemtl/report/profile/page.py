"""The page of a profile as a jinja2 template; everything it needs is in it."""

from __future__ import annotations

from typing import Final

from edgemtl.report.page import POLICY, STYLE

_MORE: Final = """
p { max-width: 900px; } p.how { margin: 0 0 6px; color: #4a5057; }
p.warning { border-left: 4px solid #c0392b; background: #fdecea; padding: 8px 12px; }
h2 { border-top: 1px solid #d9dde1; padding-top: 18px; } h3 { font-size: 16px; margin: 26px 0 4px; }
nav { margin: 6px 0 18px; font-size: 14px; line-height: 1.8; } nav a { color: #2b5c8a; margin-right: 14px; }
.basis { display: inline-block; font-size: 12px; font-weight: 600; border-radius: 9px; padding: 1px 9px;
  margin-left: 8px; vertical-align: middle; background: #e4ebf2; color: #2b5c8a; }
.basis.measured { background: #e0f0e6; color: #24663f; } .basis.estimated { background: #fbf0d3; color: #7a5b00; }
.basis.published { background: #efe6f4; color: #643f80; }
.scroll { overflow-x: auto; } .scroll + .scroll { margin-top: 16px; }
.scroll.tall { max-height: 560px; overflow-y: auto; }
.scroll th { vertical-align: bottom; } .scroll th.n { white-space: normal; }
.scroll td:not(.n) { overflow-wrap: anywhere; min-width: 150px; } td.name { min-width: 150px; }
.card .basis { float: right; margin: 1px 0 0 6px; }
.chart { overflow-x: auto; } .chart > div { min-width: 640px; }
.meter { display: inline-block; width: 56px; height: 9px; background: #eceff1; border-radius: 2px; margin-right: 8px; }
.meter i { display: block; height: 9px; background: #2b5c8a; border-radius: 2px; max-width: 100%; }
ul.plain { columns: 1; font: inherit; padding-left: 22px; }
@media (max-width: 600px) { body { padding: 12px 10px 32px; } }
"""

PROFILE_PAGE: Final = (
    f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{{{ title }}}}</title><style>{STYLE}{_MORE}</style>
"""
    + """<script>{{ plotly|safe }}</script></head><body>
{% macro basis(kind) %}<span class="basis {{ kind }}">{{ kind }}</span>{% endmacro %}
{% macro table(made) %}
<div class="scroll{{ " tall" if made.rows|length > 24 }}"><table><tr>
{% for name, numeric in made.columns %}<th{{ ' class="n"'|safe if numeric }}>{{ name }}</th>{% endfor %}</tr>
{% for row in made.rows %}<tr>
{% for cell in row %}
{% set numeric = made.columns[loop.index0][1] %}
<td class="{{ "n" if numeric else "name" if loop.first else "" }}">
{%- if cell is number %}<span class="meter"><i style="width: {{ "%.1f"|format([100 * cell, 100]|min) }}%"></i></span>
{{- "%.1f%%"|format(100 * cell) }}{% else %}{{ cell }}{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</table></div>
{% endmacro %}
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if warning %}<p class="warning">{{ warning }}</p>
{% endif %}
<nav>{% for group in groups %}<a href="#{{ group.id }}">{{ group.title }}</a>{% endfor %}</nav>
<div class="cards">
{% for card in cards %}
<div class="card"><span>{{ card.title }}{{ basis(card.basis) }}</span><b>{{ card.figure }}</b>
<span>{{ card.text }}</span></div>
{% endfor %}
</div>
{% for group in groups %}
<h2 id="{{ group.id }}">{{ group.title }}</h2>
{% for section in group.sections %}
<h3>{{ section.title }}{{ basis(section.basis) }}</h3>
<p class="how">{{ section.how }}</p>
{% if section.chart %}<div class="chart">{{ section.chart|safe }}</div>
{% endif %}
{% for made in section.tables %}{{ table(made) }}{% endfor %}
{% endfor %}
{% endfor %}
{% if notes %}
<h2>Notes</h2>
<ul class="plain">{% for text in notes %}<li>{{ text }}</li>{% endfor %}</ul>
{% endif %}
</body></html>
"""
)
