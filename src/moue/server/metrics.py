"""The counters of ``/metrics``, in Prometheus' format; nothing in them is about the content of an image."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_GAUGES = {
    "queued_images": "Images in the queue",
    "queued_seconds": "Seconds that the images in the queue and those being read are likely to take",
    "image_bytes": "Bytes of images in memory, from their upload until their response",
    "active_cameras": "Open camera connections",
    "video_jobs": "Video jobs, finished ones that are still kept included",
}


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "moue_http_requests", "HTTP requests by route and status code", ["route", "code"], registry=registry
        )
        self._durations = Histogram(
            "moue_http_request_duration_seconds", "Time from request to response", ["route"], registry=registry
        )
        self._images = Counter("moue_images", "Images and frames by status", ["status"], registry=registry)
        self._faces = Counter("moue_faces", "Faces found", registry=registry)
        self._batches = Histogram(
            "moue_batch_images", "Images per batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self._gauges = {name: Gauge(f"moue_{name}", text, registry=registry) for name, text in _GAUGES.items()}

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count an HTTP request."""
        self._requests.labels(route, str(code)).inc()
        self._durations.labels(route).observe(seconds)

    def count_image(self, status: str, faces: int) -> None:
        """Count an image and its faces."""
        self._images.labels(status).inc()
        self._faces.inc(faces)

    def count_batch(self, images: int) -> None:
        """Count a batch."""
        self._batches.observe(images)

    def set_gauge(self, name: str, value: Callable[[], float]) -> None:
        """Call ``value`` for a gauge, such as "queued_images", whenever the metrics are read."""
        self._gauges[name].set_function(value)

    def text(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self._registry)
