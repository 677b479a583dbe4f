"""A hook of mkdocs: the finished pages load nothing from the network, or the build fails."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme's offline mode would load so that search works in pages opened as files."""
WORKER = "docs/site/file_worker.js"
FOREIGN = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_post_build(config: Mapping[str, Any]) -> None:
    """Put our own script in the shim's place. Raises PluginError for a page that loads anything from elsewhere."""
    site = Path(config["site_dir"])
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8").replace(SHIM, os.path.relpath(site / WORKER, page.parent))
        if foreign := FOREIGN.search(text):
            raise PluginError(f"{page.relative_to(site)} must load nothing from the network, and has {foreign[0]}")
        page.write_text(text, encoding="utf-8")
