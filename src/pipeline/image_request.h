// What a given picture means for a recipe: whether the model takes one, and which size the video
// gets.
#pragma once

#include "pipeline/model.h"
#include "pipeline/settings.h"
#include "t2v/request.h"

namespace t2v::pipeline {

struct PictureSize {
  int64_t width = 0, height = 0;  // px
};

// The size with the picture's shape and at most `area` pixels, both sides multiples of `step`:
// rounded down (Wan's image-to-video), or the one of two candidates that keeps the shape best
// (Wan's text-and-image-to-video).
PictureSize size_for_picture(ModelTask task, const PictureSize& picture, int64_t area,
                             int64_t step);

// The side that is held: a model that takes its first frame as it is.
bool holds_first_frame(const Model& model, const Recipe& recipe);

// Into the recipe: the pictures, and where the user gives no size (nor the preset or the model's
// t2v.json, whose area counts then) the size. Comes before sizes are checked. Throws Error{kUsage}:
// a picture for a model that takes none, none for a model that needs one.
void resolve_image(const Request& request, const Model& model, Recipe& recipe);
// What is known once length and all else are there. Throws Error{kUsage}.
void check_image(const Recipe& recipe);

// What the result may suffer from; "" = nothing.
std::string image_warning(const Recipe& recipe);

// Tells pictures apart: SHA-256 of size and pixels, in hex.
std::string picture_digest(const Picture& picture);

}  // namespace t2v::pipeline
