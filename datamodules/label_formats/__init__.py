"""Annotation formats, one per file: each reads files into rows of image name, label, split and box."""
