"""From an image file or a video to the tensor that a network sees: decoding, crops, transforms, and the cache of decoded images."""
