from __future__ import annotations

import ctypes

import pytest

from tests.bpf_host.library import compile_library


@pytest.fixture(scope="session")
def decide(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The decisions of the data path, callable from here."""
    return compile_library(tmp_path_factory.mktemp("decide"))
