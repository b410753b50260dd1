#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "models/tiny_fixture.h"
#include "models/umt5/block.h"
#include "models/umt5/encoder.h"
#include "support/compare.h"
#include "t2v/error.h"

using namespace t2v;
using testing::mismatch;

namespace {

models::umt5::Encoder tiny_encoder(at::ScalarType dtype) {
  return {models::read_text_encoder_spec(testing::tiny_path("text_encoder/config.json")),
          testing::tiny_weights("text_encoder", weights::ModelPart::kTextEncoder), dtype, at::kCPU};
}

std::vector<int64_t> tiny_ids() {
  const at::Tensor ids = testing::tiny_reference("ids");
  return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()};
}

at::Tensor encode(at::ScalarType dtype, const std::vector<int64_t>& ids) {
  return tiny_encoder(dtype).encode({ids}, {}, [](int64_t, int64_t) {}).front();
}

}  // namespace

TEST_CASE("text embeddings equal those of the transformers library") {
  const at::Tensor want = testing::tiny_reference("text_rows");
  CHECK(mismatch(encode(at::kFloat, tiny_ids()), want, {2e-5, 2e-5}) == "");
  // bf16: within the distance that the library's own bf16 run has (2 % in the L2 norm), times 2.
  const at::Tensor narrow = encode(at::kBFloat16, tiny_ids());
  CHECK(((narrow - want).norm() / want.norm()).item<double>() < 0.04);
}

TEST_CASE("one wrong token shows") {
  auto ids = tiny_ids();
  ids[3] = ids[3] == 5 ? 6 : 5;
  CHECK(mismatch(encode(at::kFloat, ids), testing::tiny_reference("text_rows"), {2e-5, 2e-5}) !=
        "");
}

TEST_CASE("prompts that are encoded together do not touch each other") {
  const auto ids = tiny_ids();
  const std::vector<int64_t> other = {7, 8, 9, 1};
  const auto both = tiny_encoder(at::kFloat).encode({other, ids}, {}, [](int64_t, int64_t) {});
  CHECK(mismatch(both[1], encode(at::kFloat, ids), {}) == "");
  CHECK(mismatch(both[0], encode(at::kFloat, other), {}) == "");
}

TEST_CASE("relative position buckets are those of the reference at every distance") {
  const auto spec = models::read_text_encoder_spec(testing::tiny_path("text_encoder/config.json"));
  const at::Tensor want = testing::tiny_reference("buckets");  // distances -600..600
  const at::Tensor got = models::umt5::relative_buckets(601, spec);
  CHECK(at::equal(got[0], want.narrow(0, 600, 601)));  // query 0 sees 0..600
  CHECK(at::equal(got[600], want.narrow(0, 0, 601)));  // query 600 sees -600..0
}

TEST_CASE("ids outside the vocabulary are a model error; a stop is passed on") {
  auto encoder = tiny_encoder(at::kFloat);
  for (const int64_t id : {int64_t{-1}, int64_t{120}}) {
    try {
      static_cast<void>(encoder.encode({{id}}, {}, [](int64_t, int64_t) {}));
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kModel);
    }
  }
  CHECK_THROWS_AS(
      encoder.encode({{5}}, {},
                     [](int64_t, int64_t) { throw Error(ErrorKind::kCancelled, "stop"); }),
      Error);
}
