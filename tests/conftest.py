"""What tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is no failure: nothing here depends on how long an example takes.
settings.register_profile("basisd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("basisd")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings and messages, named by BASISD_DATA_DIR; the test is skipped without it."""
    named = os.environ.get("BASISD_DATA_DIR")
    if not named:
        pytest.skip("BASISD_DATA_DIR is not set: tests on real data need the folder of recordings")
    path = Path(named)
    if not path.is_dir():
        pytest.skip(f"BASISD_DATA_DIR names {path}, which is no folder: tests on real data need it")
    return path
