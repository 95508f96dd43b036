"""The scripts and styles of Visdom's page, through npm. Its server gets them from other places, when it starts and these can be reached."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

FILES = {
    "bootstrap@3.3.7": {
        "dist/js/bootstrap.min.js": "js/bootstrap.min.js",
        "dist/css/bootstrap.min.css": "css/bootstrap.min.css",
        "dist/fonts/glyphicons-halflings-regular.woff2": "fonts/glyphicons-halflings-regular.woff2",
    },
    "d3-selection-multi@1.0.1": {"build/d3-selection-multi.js": "js/d3-selection-multi.v1.js"},
    "d3@3.5.17": {"d3.min.js": "js/d3.v3.min.js"},
    "jquery@3.1.1": {"dist/jquery.min.js": "js/jquery.min.js"},
    "layout-bin-packer@1.4.0": {"dist/layout-bin-packer.js": "js/layout_bin_packer.js"},
    "plotly.js-dist-min@2.11.1": {"plotly.min.js": "js/plotly-plotly.min.js"},
    "react-dom@16.2.0": {"umd/react-dom.production.min.js": "js/react-dom.min.js"},
    "react-grid-layout@0.16.3": {"css/styles.css": "css/react-grid-layout-styles.css"},
    "react-modal@3.1.10": {"dist/react-modal.min.js": "js/react-modal.min.js"},
    "react-resizable@1.4.6": {"css/styles.css": "css/react-resizable-styles.css"},
    "react@16.2.0": {"umd/react.production.min.js": "js/react-react.min.js"},
    "save-svg-as-png@1.4.17": {"lib/saveSvgAsPng.js": "js/saveSvgAsPng.js"},
    "sjcl@1.0.7": {"sjcl.js": "js/sjcl.js"},
}
"""By package what its files are called on the page. Formulas, which need MathJax, are left out."""


def fetch(folder: Path) -> None:
    """Put what is missing into a folder of static files."""
    missing = [package for package, files in FILES.items() if not all((folder / place).exists() for place in files.values())]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as name:
        command = ["npm", "pack", "--silent", "--json", *missing]
        packed = json.loads(subprocess.run(command, cwd=name, check=True, capture_output=True, text=True, timeout=300).stdout)
        for one in packed:
            with tarfile.open(Path(name) / one["filename"].replace("@", "").replace("/", "-")) as archive:
                for inside, place in FILES[one["id"]].items():
                    source = archive.extractfile(f"package/{inside}")
                    assert source is not None
                    (folder / place).parent.mkdir(parents=True, exist_ok=True)
                    with source, (folder / place).open("wb") as target:
                        shutil.copyfileobj(source, target)
