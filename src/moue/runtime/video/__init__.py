"""Videos and cameras: decoding, tracking, smoothing, writing."""
