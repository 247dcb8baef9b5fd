"""Builds the packet path in C where that can be done; everything else about the package is in pyproject.toml.

`FLATPROXY_NATIVE=1` makes its absence an error, `FLATPROXY_NATIVE=0` leaves it out. Whether it can be built is found
out before anything is: a wheel without it is then a pure one.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CCompilerError, DistutilsError
from setuptools._distutils.sysconfig import customize_compiler

FOLDER = Path("flatproxy/forward/native")
NEEDED = "#include <Python.h>\n#include <stdatomic.h>\n#include <sys/epoll.h>\nint here;\n"


def missing() -> str:
    """Return what the extension lacks here, nothing where it can be built."""
    if sys.platform != "linux":
        return "it is for Linux only"
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(NEEDED)
        try:
            compiler.compile([str(source)], folder, include_dirs=[sysconfig.get_path("include")])
        except (CCompilerError, DistutilsError, OSError):
            return "there is no C compiler, or no Python.h (Debian: gcc, libc6-dev, python3-dev)"
    return ""


def extensions() -> list[Extension]:
    """Return the extension, or none."""
    wanted = os.environ.get("FLATPROXY_NATIVE", "")
    if wanted == "0":
        return []
    lacks = missing()
    if lacks and wanted == "1":
        raise SystemExit(f"FLATPROXY_NATIVE=1, but the packet path in C cannot be built: {lacks}")
    if lacks:
        sys.stderr.write(f"flatproxy: the packet path in C is left out: {lacks}\n")
        return []
    return [
        Extension(
            "flatproxy.forward.native._core",
            sorted(str(path) for path in FOLDER.glob("*.c")),
            depends=sorted(str(path) for path in FOLDER.glob("*.h")),
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"],
            extra_link_args=["-pthread"],
            optional=wanted != "1",
            py_limited_api=True,
        )
    ]


found = extensions()
setup(ext_modules=found, options={"bdist_wheel": {"py_limited_api": "cp311"}} if found else {})
