// What becomes of a given picture: its size, the video's size, masks, and where its latents go.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "pipeline/encode_stage.h"
#include "pipeline/image_condition.h"
#include "pipeline/image_request.h"
#include "pipeline/picture_resize.h"
#include "t2v/error.h"

using namespace t2v;
using namespace t2v::pipeline;

namespace {

// 7 x 6, without order.
Picture busy_picture() {
  Picture picture{.width = 7, .height = 6, .rgb = {}};
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 7; ++x)
      for (int c = 0; c < 3; ++c)
        picture.rgb.push_back(static_cast<uint8_t>((x * 37 + y * 91 + c * 53 + x * y * 7) % 256));
  return picture;
}

std::string refusal(const std::function<void()>& work, ErrorKind kind) {
  try {
    work();
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("pictures are resized to the bytes that Pillow 13 gives (LANCZOS)") {
  const Picture picture = busy_picture();
  CHECK(resize_picture(picture, 4, 3).rgb ==
        std::vector<uint8_t>{80,  125, 153, 127, 132, 135, 107, 139, 164, 148, 129, 109,
                             131, 133, 123, 135, 132, 140, 138, 142, 135, 147, 127, 126,
                             110, 165, 116, 133, 128, 117, 151, 128, 107, 142, 128, 143});
  // One side alone, larger beside smaller.
  CHECK(resize_picture(picture, 7, 2).rgb ==
        std::vector<uint8_t>{76,  129, 122, 133, 113, 166, 105, 158, 121, 149, 113, 145, 104, 136,
                             189, 128, 181, 88,  172, 80,  133, 123, 176, 123, 115, 134, 98,  146,
                             109, 162, 121, 174, 81,  185, 93,  146, 104, 157, 100, 169, 111, 164});
  CHECK(resize_picture(picture, 3, 6).rgb ==
        std::vector<uint8_t>{24,  73,  131, 111, 179, 217, 198, 150, 90,  137, 190, 183, 148, 95,
                             73,  53,  106, 176, 173, 109, 66,  79,  132, 185, 198, 155, 91,  55,
                             125, 178, 191, 169, 116, 114, 107, 160, 168, 157, 101, 122, 115, 138,
                             182, 152, 96,  91,  161, 113, 144, 122, 84,  118, 111, 161});
  const Picture large = resize_picture(picture, 9, 8);
  const std::vector<uint8_t> begin{0, 47, 94, 17, 66, 114, 49, 95, 162, 68, 128, 201};
  CHECK(std::vector<uint8_t>(large.rgb.begin(), large.rgb.begin() + 12) == begin);
  CHECK(large.rgb.size() == 9 * 8 * 3);
  CHECK(resize_picture(picture, 7, 6).rgb == picture.rgb);
}

TEST_CASE("a video gets its picture's shape and the model's area") {
  const auto size = [](ModelTask task, int64_t w, int64_t h, int64_t area, int64_t step) {
    const PictureSize s = size_for_picture(task, {w, h}, area, step);
    return std::pair{s.width, s.height};
  };
  constexpr auto kI2v = ModelTask::kImageToVideo;
  constexpr auto kTi2v = ModelTask::kTextImageToVideo;
  // Wan2.2-I2V-A14B: sides of the exact rectangle, rounded down to 16.
  CHECK(size(kI2v, 1280, 720, 1280 * 720, 16) == std::pair<int64_t, int64_t>{1280, 720});
  CHECK(size(kI2v, 1000, 1000, 1280 * 720, 16) == std::pair<int64_t, int64_t>{960, 960});
  CHECK(size(kI2v, 3000, 4000, 832 * 480, 16) == std::pair<int64_t, int64_t>{544, 720});
  // Wan2.2-TI2V-5B: of two candidates the one nearer to the shape, multiples of 32.
  CHECK(size(kTi2v, 1280, 704, 1280 * 704, 32) == std::pair<int64_t, int64_t>{1280, 704});
  CHECK(size(kTi2v, 900, 1600, 1280 * 704, 32) == std::pair<int64_t, int64_t>{704, 1248});
  CHECK(size(kTi2v, 1000, 1000, 1280 * 704, 32) == std::pair<int64_t, int64_t>{960, 928});
  // Very flat ones keep one row of tokens.
  CHECK(size(kI2v, 10000, 10, 256 * 256, 16).second == 16);
}

TEST_CASE("the mask says which frames are given: four channels for the four frames of a latent") {
  const Geometry g{
      .latent_channels = 16, .latent_frames = 3, .latent_height = 2, .latent_width = 2};
  const at::Tensor first = given_frames_mask(g, 4, false);
  CHECK(first.sizes() == at::IntArrayRef({4, 3, 2, 2}));
  CHECK(first.select(1, 0).eq(1).all().item<bool>());
  CHECK(first.sum().item<double>() == 4 * 4);
  const at::Tensor both = given_frames_mask(g, 4, true);
  CHECK(both.select(1, 2).select(0, 3).eq(1).all().item<bool>());
  CHECK(both.sum().item<double>() == 5 * 4);
}

TEST_CASE("latents of a picture stand beside the noise, or in the place of the first frame") {
  const at::Tensor latents = at::rand({4, 3, 2, 2});
  const ImageCondition none;
  CHECK(none.model_input(latents).is_same(latents));
  ImageCondition beside;
  beside.beside = at::rand({8, 3, 2, 2});
  const at::Tensor wide = beside.model_input(latents);
  CHECK(at::equal(wide.narrow(0, 0, 4), latents));
  CHECK(at::equal(wide.narrow(0, 4, 8), beside.beside));
  CHECK(beside.finished(latents).is_same(latents));
  ImageCondition held;
  held.first_frame = at::rand({4, 1, 2, 2});
  for (const at::Tensor& got : {held.model_input(latents), held.finished(latents)}) {
    CHECK(at::equal(got.narrow(1, 0, 1), held.first_frame));
    CHECK(at::equal(got.narrow(1, 1, 2), latents.narrow(1, 1, 2)));
  }
}

TEST_CASE("a picture's shape and the video's: what is said of stretching") {
  Recipe recipe;
  recipe.width = 96;
  recipe.height = 64;
  CHECK(image_warning(recipe).empty());
  recipe.image = std::make_shared<Picture>(Picture{.width = 97, .height = 64, .rgb = {}});
  CHECK(image_warning(recipe).empty());
  recipe.last_image = std::make_shared<Picture>(Picture{.width = 64, .height = 64, .rgb = {}});
  CHECK(image_warning(recipe).find("stretched") != std::string::npos);
  recipe.frames = 1;
  CHECK(refusal([&] { check_image(recipe); }, ErrorKind::kUsage).find("--frames 5") !=
        std::string::npos);
}

TEST_CASE("pictures are told apart by size and content") {
  const Picture picture = busy_picture();
  Picture turned = picture, other = picture;
  std::swap(turned.width, turned.height);
  other.rgb.back() ^= 1;
  CHECK(picture_digest(picture) == picture_digest(busy_picture()));
  CHECK(picture_digest(picture) != picture_digest(turned));
  CHECK(picture_digest(picture) != picture_digest(other));
}

TEST_CASE("bytes become -1 to 1; sizes that a VAE cannot take are refused with the nearest") {
  const at::Tensor frame = frame_tensor({0, 255, 51, 255, 0, 102}, 1, 2);
  CHECK(frame.sizes() == at::IntArrayRef({3, 1, 1, 2}));
  CHECK(at::allclose(frame.flatten(), at::tensor({-1.F, 1.F, 1.F, -1.F, -0.6F, -0.2F})));
  const auto spec = models::vae::read_vae_spec(T2V_MODELS "/shapes/vae/config.json");
  require_source_fits({.width = 64, .height = 8, .fps = 0}, spec);
  const std::string said = refusal(
      [&] { require_source_fits({.width = 100, .height = 5, .fps = 0}, spec); }, ErrorKind::kInput);
  CHECK(said.find("96 or 104") != std::string::npos);
  CHECK(said.find("a height of 8") != std::string::npos);
  const std::string long_one = refusal(
      [&] { require_source_fits({.width = 64, .height = 8, .fps = 8, .num_frames = 8}, spec); },
      ErrorKind::kInput);
  CHECK(long_one.find("--frames 5") != std::string::npos);
}
