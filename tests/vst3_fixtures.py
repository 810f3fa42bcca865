"""Plug-ins for the tests: our own in C, compiled on the spot, and what Debian ships."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.plugins.catalogue import PluginCatalogue
from engine.plugins.store import PluginStore

SOURCE = Path(__file__).with_name("stub_vst3.c")
ZAM = Path("/usr/lib/vst3")

needs_gcc = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("gcc"), reason="compiles a Linux plug-in with gcc"
)
needs_zam = pytest.mark.skipif(
    not (ZAM / "ZamCompX2.vst3").exists(), reason="needs Debian's zam-plugins"
)


def build_stub(folder, name="Stub", mode="WELL", at_load=None):
    """A `.vst3` bundle that behaves as MODE says, or does AT_LOAD when it is opened."""
    bundle = folder / f"{name}.vst3"
    binary = bundle / "Contents" / f"{platform.machine()}-linux" / f"{name}.so"
    binary.parent.mkdir(parents=True)
    load = [f"-DAT_LOAD={at_load}"] if at_load else []
    command = ["gcc", "-shared", "-fPIC", f"-DMODE={mode}", *load, str(SOURCE), "-lm", "-o"]
    subprocess.run([*command, str(binary)], check=True)
    return bundle


def catalogue(folder, *plugin_folders, inspection_timeout_s=20.0):
    """A catalogue with a memory of its own."""
    return PluginCatalogue(plugin_folders, PluginStore(folder / "store"), inspection_timeout_s)
