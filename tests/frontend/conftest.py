from pathlib import Path

import pytest

from tests.support.models import build_and_export, small_config


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, five experts, top 3, one gate a task."""
    return build_and_export(small_config(top_k=3), 1, tmp_path_factory.mktemp("exported"))[1]


@pytest.fixture(scope="session")
def exported_window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks, windows of three of five experts, small scores dropped, a class token."""
    config = small_config(routing="window", experts_per_task=3, expert_prune=0.3, class_token=True, image=(24, 16))
    return build_and_export(config, 2, tmp_path_factory.mktemp("window"))[1]
