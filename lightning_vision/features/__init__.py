"""The feature cache: what a frozen backbone computes of an image is computed once, and served wherever it is asked for."""
