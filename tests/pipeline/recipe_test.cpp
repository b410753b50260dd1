#include "pipeline/recipe.h"

#include <catch2/catch.hpp>

#include "t2v/error.h"

using namespace t2v;

namespace {

const pipeline::Model& shapes() {
  static const pipeline::Model model = [] {
    EngineOptions options;
    options.model_path = T2V_MODELS "/shapes";
    return pipeline::open_model(options, pipeline::open_storage(options));
  }();
  return model;
}

Recipe resolve(const Request& request) { return pipeline::resolve_recipe(request, shapes()); }

std::string refusal(const Request& request) {
  try {
    resolve(request);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the command line wins over the preset, the preset over the model folder") {
  Request request;
  request.prompt = "a red circle";
  CHECK(resolve(request).width == 64);  // t2v.json
  CHECK(resolve(request).guidance_scale.high_noise == 3.0);
  request.preset = "diffusers";
  CHECK(resolve(request).steps == 50);
  CHECK(resolve(request).guidance_scale.low_noise == 5.0);
  CHECK(resolve(request).sigma_table == SigmaTable::kDiffusers);
  request.steps = 7;
  request.guidance_scale = 2.0;
  request.guidance_scale_low = 1.5;
  CHECK(resolve(request).steps == 7);
  CHECK(resolve(request).guidance_scale.high_noise == 2.0);
  CHECK(resolve(request).guidance_scale.low_noise == 1.5);
}

TEST_CASE("an open seed is drawn anew, a given one is kept") {
  Request request;
  request.prompt = "x";
  CHECK(resolve(request).seed != resolve(request).seed);
  request.seed = 18446744073709551615ULL;
  CHECK(resolve(request).seed == 18446744073709551615ULL);
}

TEST_CASE("values that cannot work are refused before any work") {
  const auto with = [](const auto& change) {
    Request request;
    request.prompt = "x";
    change(request);
    return refusal(request);
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(with([](Request& r) { r.steps = 0; }), Contains("--steps"));
  CHECK_THAT(with([](Request& r) { r.steps = 1001; }), Contains("--steps"));
  CHECK_THAT(with([](Request& r) { r.shift = -1; }), Contains("--shift"));
  CHECK_THAT(with([](Request& r) { r.fps = 0; }), Contains("--fps"));
  CHECK_THAT(with([](Request& r) { r.guidance_scale = -1; }), Contains("--guidance-scale"));
  CHECK_THAT(with([](Request& r) { r.boundary = 1.5; }), Contains("--boundary"));
  CHECK_THAT(with([](Request& r) { r.width = 65; }), Contains("64 or 80"));
  CHECK_THAT(with([](Request& r) {
               r.frames = 17;
               r.seconds = 2;
             }),
             Contains("--seconds"));
  CHECK_THAT(with([](Request& r) { r.preset = "nonsense"; }), Contains("official"));
}

TEST_CASE("published models get the published defaults") {
  const auto variant = [](int64_t heads, int64_t blocks, bool two) {
    models::TransformerSpec spec;
    spec.num_heads = heads;
    spec.head_size = 128;
    spec.num_blocks = blocks;
    return pipeline::identify_model(spec, two, std::nullopt);
  };
  CHECK(variant(40, 40, true).name == "Wan2.2-T2V-A14B");
  CHECK(variant(40, 40, true).defaults.shift == 12.0);
  CHECK(variant(40, 40, true).defaults.guidance_scale_low == 3.0);
  CHECK(variant(40, 40, true).defaults.boundary == 0.875);
  CHECK(variant(40, 40, false).name == "Wan2.1-T2V-14B");
  CHECK(variant(12, 30, false).name == "Wan2.1-T2V-1.3B");
  CHECK(variant(12, 30, false).defaults.width == 832);
  CHECK(variant(12, 30, false).defaults.shift == 8.0);
}
