import importlib.util
import sys

import pytest
from helpers import ROOT


@pytest.fixture(scope="session")
def live():
    """The folder that the page `live` loads from."""
    path = ROOT / "site" / "live_files.py"
    spec = importlib.util.spec_from_file_location("live_files", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["live_files"] = module
    spec.loader.exec_module(module)
    return module.build()
