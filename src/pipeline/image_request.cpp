#include "pipeline/image_request.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/check.h"
#include "weights/sha256.h"

namespace t2v::pipeline {
namespace {

constexpr double kStretchWorthTelling = 1.05;

int64_t floor_to(double value, int64_t step) {
  return std::max(static_cast<int64_t>(value) / step * step, step);
}

double shape_of(const PictureSize& size) {
  return static_cast<double>(size.width) / static_cast<double>(size.height);
}

// How much wider or narrower one is than the other, from 1 on.
double stretch(double a, double b) { return std::max(a / b, b / a); }

// The other side of a given one.
int64_t matching_side(int64_t side, double ratio, int64_t step) {
  const auto steps = std::llround(static_cast<double>(side) * ratio / static_cast<double>(step));
  return std::max<int64_t>(steps, 1) * step;
}

}  // namespace

PictureSize size_for_picture(ModelTask task, const PictureSize& picture, int64_t area,
                             int64_t step) {
  const double ratio = shape_of(picture);
  const auto pixels = static_cast<double>(area);
  const double width = std::sqrt(pixels * ratio);
  const double height = pixels / width;
  if (task == ModelTask::kImageToVideo) return {floor_to(width, step), floor_to(height, step)};
  const int64_t by_width = floor_to(width, step), by_height = floor_to(height, step);
  const PictureSize first{by_width, floor_to(pixels / static_cast<double>(by_width), step)};
  const PictureSize second{floor_to(pixels / static_cast<double>(by_height), step), by_height};
  return stretch(ratio, shape_of(first)) < stretch(ratio, shape_of(second)) ? first : second;
}

bool holds_first_frame(const Model& model, const Recipe& recipe) {
  return recipe.image && model.variant.task == ModelTask::kTextImageToVideo;
}

void resolve_image(const Request& request, const Model& model, Recipe& r) {
  const ModelTask task = model.variant.task;
  T2V_REQUIRE(request.image || !request.last_image, ErrorKind::kUsage,
              "--last-image needs the first frame too; try --image");
  T2V_REQUIRE(request.image || task != ModelTask::kImageToVideo, ErrorKind::kUsage,
              model.variant.name,
              " makes videos from a picture, and none is given; try --image "
              "FILE");
  T2V_REQUIRE(!request.image || task != ModelTask::kTextToVideo, ErrorKind::kUsage,
              model.variant.name, " makes videos from text alone (--image ", request.image_path,
              "); try without, or a Wan2.2-I2V-A14B or Wan2.2-TI2V-5B model");
  T2V_REQUIRE(!request.last_image || task == ModelTask::kImageToVideo, ErrorKind::kUsage,
              model.variant.name, " takes a first frame, no last one (--last-image ",
              request.last_image_path, "); try without, or a Wan2.2-I2V-A14B model");
  if (!request.image) return;
  r.image = request.image;
  r.last_image = request.last_image;
  r.image_path = request.image_path;
  r.last_image_path = request.last_image_path;
  const PictureSize picture{r.image->width, r.image->height};
  const GeometryRules rules = model.geometry_rules();
  const int64_t step = rules.spatial_scale * std::max(rules.patch_width, rules.patch_height);
  if (request.width && !request.height) {
    r.height = matching_side(r.width, 1 / shape_of(picture), step);
  } else if (request.height && !request.width) {
    r.width = matching_side(r.height, shape_of(picture), step);
  } else if (!request.width) {
    const PictureSize size = size_for_picture(task, picture, r.width * r.height, step);
    r.width = size.width;
    r.height = size.height;
  }
}

void check_image(const Recipe& r) {
  if (!r.image) return;
  T2V_REQUIRE(r.causal.empty(), ErrorKind::kUsage,
              "--image with --causal: causal checkpoints make videos from text alone; try one of "
              "the two");
  T2V_REQUIRE(!r.last_image || r.frames > 1, ErrorKind::kUsage,
              "--last-image with a single frame (--frames 1); try --frames 5 or more");
}

std::string image_warning(const Recipe& r) {
  if (!r.image) return "";
  const PictureSize size{r.width, r.height};
  for (const auto* picture : {r.image.get(), r.last_image.get()}) {
    if (!picture) continue;
    const double much = stretch(shape_of({picture->width, picture->height}), shape_of(size));
    if (much < kStretchWorthTelling) continue;
    return core::str("the picture is ", picture->width, "x", picture->height,
                     " and is stretched to ", r.width, "x", r.height,
                     "; without --size the video gets the picture's shape");
  }
  return "";
}

std::string picture_digest(const Picture& picture) {
  weights::Sha256 digest;
  const std::string size = core::str(picture.width, "x", picture.height, ":");
  digest.add(std::as_bytes(std::span(size)));
  digest.add(std::as_bytes(std::span(picture.rgb)));
  return digest.finish();
}

}  // namespace t2v::pipeline
