"""The server from which Prometheus reads the metrics of a running sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from tutelage.errors import UnreachableError
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.metrics import Metrics
from tutelage.spec.search_sections import TrackingConfig


@contextmanager
def serving(metrics: Metrics, config: TrackingConfig, events: Dispatcher) -> Iterator[None]:
    """Keep the metrics of the events and serve them at `http://host:port/metrics` within the block, if the spec has a port.

    Raises `UnreachableError` if the address cannot be served.
    """
    host, port = config.metrics_host, config.metrics_port
    if port is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as error:  # the second for a name that is no host name
        raise UnreachableError(
            f"tracking.metrics_port {port}: the metrics cannot be served at {host}:{port} ({error}). Set another port, or end "
            "the program that uses it; null serves none."
        ) from error
    events.attach(metrics)
    events.stage(f"metrics for Prometheus: http://{host}:{port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
