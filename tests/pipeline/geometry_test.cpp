#include "pipeline/geometry.h"

#include <catch2/catch.hpp>

#include "t2v/error.h"

using namespace t2v;
using pipeline::make_geometry;

TEST_CASE("latents and tokens of the published sizes") {
  const auto g = make_geometry(1280, 720, 81, {});
  CHECK(g.latent_frames == 21);
  CHECK(g.latent_height == 90);
  CHECK(g.latent_width == 160);
  CHECK(g.num_tokens == 75600);
  CHECK(make_geometry(832, 480, 81, {}).num_tokens == 32760);
  CHECK(make_geometry(16, 16, 1, {}).num_tokens == 1);
}

TEST_CASE("sizes that do not fit are refused with the nearest ones that do") {
  const auto message = [](int64_t w, int64_t h, int64_t f) -> std::string {
    try {
      make_geometry(w, h, f, {});
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return error.what();
    }
    return "";
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(message(1281, 720, 81), Contains("1280 or 1296"));
  CHECK_THAT(message(1280, 730, 81), Contains("720 or 736"));
  CHECK_THAT(message(7, 720, 81), Contains("try 16"));
  CHECK_THAT(message(0, 720, 81), Contains("try 16"));
  CHECK_THAT(message(1280, -5, 81), Contains("try 16"));
  CHECK_THAT(message(1280, 720, 80), Contains("77 or 81"));
  CHECK_THAT(message(1280, 720, 0), Contains("try 1"));
  CHECK_THAT(message(1280, 720, -7), Contains("try 1"));
  CHECK_THAT(message(int64_t{1} << 62, 720, 81), Contains("16384"));
  CHECK(message(1280, 720, (int64_t{1} << 62) + 1) != "");
}

TEST_CASE("seconds become the nearest valid number of frames") {
  CHECK(pipeline::frames_for_seconds(5.0, 16, {}) == 81);
  CHECK(pipeline::frames_for_seconds(5.0625, 16, {}) == 81);
  CHECK(pipeline::frames_for_seconds(0.01, 16, {}) == 1);
  CHECK_THROWS_AS(pipeline::frames_for_seconds(0, 16, {}), Error);
  CHECK_THROWS_AS(pipeline::frames_for_seconds(1e300, 16, {}), Error);
}
