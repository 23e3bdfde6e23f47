"""What an input is: paths, globs, bytes, arrays, cameras and streams."""
