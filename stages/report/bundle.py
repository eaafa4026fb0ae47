"""Give the JavaScript that draws the charts: Vega-Lite and what it needs, in one text.

Bundling takes 1.4 s of CPU and gives the same text for one version of vl-convert, so it is kept in the user's cache
folder, ``$XDG_CACHE_HOME/batchwise`` or ``~/.cache/batchwise``. The first line of the file is the SHA-256 of the rest:
a file that a crash cut short is made again.
"""

import contextlib
import functools
import hashlib
import os
from importlib import metadata
from pathlib import Path

from stages.core.files import write_text

SNIPPET = "window.vegaEmbed = vegaEmbed;"


@functools.cache
def javascript() -> str:
    """Return the script, from the cache when it is there and whole."""
    path = _cached()
    digest, _, script = path.read_text(encoding="utf-8").partition("\n") if path.is_file() else ("", "", "")
    if digest != _digest(script):
        script = _bundled()
        with contextlib.suppress(OSError):  # a home that cannot be written costs the time, not the page
            write_text(path, f"{_digest(script)}\n{script}")
    return script


def _bundled() -> str:
    import vl_convert  # starts a JavaScript engine

    script: str = vl_convert.javascript_bundle(SNIPPET)
    return script


def _cached() -> Path:
    """Return where the script of this version lies."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"vega-{metadata.version('vl-convert-python')}-{_digest(SNIPPET)[:8]}.js"
    return folder / "batchwise" / name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
