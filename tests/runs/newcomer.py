"""Somebody with an empty home who has never heard of W&B."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY = "0123456789" * 4  # of an account on the server of the tests


def forget_wandb() -> None:
    """End wandb's helper process and drop its settings and login, which otherwise live as long as this process."""
    if "wandb" in sys.modules:
        import wandb
        from wandb.sdk.lib import wbauth

        wandb.teardown()
        wbauth.unauthenticate_session(update_settings=False)


@contextmanager
def newcomer(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Be that person in this folder; what is patched besides is undone in the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("WANDB") or name.lower().endswith("_proxy") or name == "NETRC":
                patch.delenv(name)
        for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, str(folder / "home"))
        for name in ("WANDB_ERROR_REPORTING", "WANDB_X_DISABLE_STATS", "WANDB_X_DISABLE_MACHINE_INFO"):
            patch.setenv(name, "false" if name == "WANDB_ERROR_REPORTING" else "true")
        patch.chdir(folder)
        forget_wandb()
        yield patch
        forget_wandb()
