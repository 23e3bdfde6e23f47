"""Reads faces in pictures, folders, videos and cameras, without torch."""
