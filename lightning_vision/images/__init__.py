"""From image files and videos to input tensors: decoding, crops, transforms, and the cache of decoded images."""
