"""Imports the packages that report their use to their makers, with the reports turned off.

`import moue` turns off what an environment variable turns off, before any other module of moue is loaded, so that it
holds for packages that import these in turn (torch's exporter imports ONNX Runtime) and for child processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moue.errors import BrokenPackage, MissingExtra, require

#: Variables that turn reports off. ONNX Runtime reads its own when it is imported, and starts a thread that collects
#: events, keeps an identifier in the user's home and later asks the name server for its maker's host.
#: Ray's workers inherit its variable.
OPT_OUT = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def opt_out() -> None:
    """Set the variables of :data:`OPT_OUT` that the user has not set."""
    for name, value in OPT_OUT.items():
        os.environ.setdefault(name, value)


def import_onnxruntime(submodule: str = "") -> Any:
    """ONNX Runtime, or a submodule of it ("quantization"); no other module of moue imports it.

    Raises:
        MissingExtra: when it is not installed.
        BrokenPackage: when it is, and cannot be imported.
    """
    opt_out()
    with _importing("onnxruntime"):
        # Windows builds report by other means, which the variable does not concern.
        require("onnxruntime", "").disable_telemetry_events()
    return require(".".join(filter(None, ("onnxruntime", submodule))), "")


def import_openvino(submodule: str = "") -> Any:
    """OpenVINO, or a submodule of it ("frontend"); no other module of moue imports it.

    Raises:
        MissingExtra: when it is not installed.
        BrokenPackage: when it is, and cannot be imported.
    """
    # On import, OpenVINO reports to Google Analytics through this package; without it, it falls back to a stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with _importing("openvino"):
        # Of a package that was removed in part, Python imports what folders are left.
        require("openvino", "fast").Core  # noqa: B018
        return require(".".join(filter(None, ("openvino", submodule))), "fast")


def import_ray(submodule: str = "") -> Any:
    """Ray, or a submodule of it ("data"); no other module of moue imports it.

    Raises:
        MissingExtra: when it is not installed.
    """
    opt_out()
    return require(".".join(filter(None, ("ray", submodule))), "scale")


@contextmanager
def _importing(package: str) -> Iterator[None]:
    """Raise whatever the import of a package raises as BrokenPackage."""
    try:
        yield
    except (MissingExtra, MemoryError):
        raise
    except Exception as error:  # A library that does not load, one of another version, a file that is gone.
        raise BrokenPackage(package, error) from error
