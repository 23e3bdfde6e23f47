"""Reads faces in images, folders, videos and cameras, without torch."""
