"""The scripts of ``.ci``, which is no package."""

from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from tests.support.node import ROOT


def ci_script(name: str) -> ModuleType:
    """``.ci/<name>.py`` as a module."""
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
