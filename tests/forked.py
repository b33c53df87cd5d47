"""Processes that are forked from one that has imported MLflow, as its imports take longer than what most tests do with it."""

from __future__ import annotations

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.tracking_driver", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.rest_store"]
)
