"""The feature cache: the features of a frozen backbone are computed once for each image, and reused everywhere."""
