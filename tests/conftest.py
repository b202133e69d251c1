"""What tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is no failure: nothing here depends on how long an example takes.
settings.register_profile("basisd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A change is judged by the same examples each time; new ones are looked for by whoever runs the tests.
settings.register_profile("gate", settings.get_profile("basisd"), derandomize=True)
settings.load_profile(os.environ.get("BASISD_TEST_PROFILE", "basisd"))


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
