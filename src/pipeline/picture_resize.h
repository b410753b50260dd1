// Pictures in another size, as the Pillow library makes them: with Lanczos' filter of three lobes,
// which averages where it makes smaller.
#pragma once

#include "t2v/request.h"

namespace t2v::pipeline {

// width, height in px, from 1 on. Sides that stay are not filtered. The bytes are those of Pillow's
// Image.resize(..., LANCZOS): weights in whole 2^-22, rounded after each of the two passes.
Picture resize_picture(const Picture& picture, int64_t width, int64_t height);

}  // namespace t2v::pipeline
