"""What ``/metrics`` counts, in Prometheus' format; nothing in it is about anybody's face."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter("moue_requests", "Requests answered", ["route", "status"], registry=registry)
        self._seconds = Histogram("moue_request_seconds", "Time to answer", ["route"], registry=registry)
        self._images = Counter("moue_images", "Images and frames answered", ["status"], registry=registry)
        self._faces = Counter("moue_faces", "Faces found in them", registry=registry)
        self._batch = Histogram(
            "moue_batch_images", "Images read at once", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self._gauges = {
            name: Gauge(f"moue_{name}", text, registry=registry)
            for name, text in (("waiting", "Images waiting"), ("cameras", "Cameras open"), ("jobs", "Videos held"))
        }

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, status: str, faces: int) -> None:
        """Count an answered image."""
        self._images.labels(status).inc()
        self._faces.inc(faces)

    def batch(self, images: int) -> None:
        """Count a batch."""
        self._batch.observe(images)

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Show the value of "waiting", "cameras" or "jobs" as it is when asked."""
        self._gauges[name].set_function(value)

    def text(self) -> bytes:
        """The answer."""
        return generate_latest(self._registry)
