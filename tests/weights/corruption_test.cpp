// Truncation at every byte and every single flipped header bit: refused, or the same tensors.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <catch2/catch.hpp>

#include "scratch.h"
#include "weights/safetensors_writer.h"
#include "weights/weight_map.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::read_text;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

constexpr const char* kName = "x.safetensors";

at::Tensor ramp(int64_t rows, int64_t columns, at::ScalarType dtype) {
  return at::arange(rows * columns).view({rows, columns}).to(dtype);
}

Expectations expectations() {
  return {{{"head.head.weight", {4, 6}}, {"norm.weight", {3, 2}}}, {}};
}

std::string tiny_shard(const Scratch& scratch) {
  write_safetensors(
      scratch / kName,
      {{"proj_out.weight", ramp(4, 6, at::kFloat)}, {"norm.weight", ramp(3, 2, at::kBFloat16)}},
      {{"format", "pt"}});
  return read_text(scratch / kName);
}

// "" when all is accepted and equal; "different" when wrong tensors come out; else the message.
std::string outcome(const std::string& path) {
  bool equal = false;
  const std::string message = message_of([&] {
    const WeightMap map = WeightMap::open(path, ModelPart::kTransformer, "transformer");
    map.check(expectations());
    equal = map.take("head.head.weight", at::kFloat).equal(ramp(4, 6, at::kFloat)) &&
            map.take("norm.weight", at::kFloat).equal(ramp(3, 2, at::kFloat));
  });
  return message.empty() && !equal ? "different" : message;
}

}  // namespace

TEST_CASE("the unharmed shard is accepted") {
  const Scratch scratch;
  tiny_shard(scratch);
  CHECK(outcome(scratch / kName).empty());
}

TEST_CASE("a shard cut at any byte is refused") {
  const Scratch scratch;
  const std::string whole = tiny_shard(scratch);
  for (size_t size = 0; size < whole.size(); ++size) {
    write_text(scratch / kName, whole.substr(0, size));
    const std::string result = outcome(scratch / kName);
    if (result.find(kName) == std::string::npos) FAIL("cut at " << size << ": '" << result << "'");
  }
}

TEST_CASE("any flipped bit of the header is refused or harmless") {
  const Scratch scratch;
  const std::string whole = tiny_shard(scratch);
  const size_t header_end = whole.size() - 4 * 6 * 4 - 3 * 2 * 2;
  size_t harmless = 0;
  for (size_t bit = 0; bit < header_end * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    write_text(scratch / kName, flipped);
    const std::string result = outcome(scratch / kName);
    if (result == "different" || result.starts_with("wrong kind"))
      FAIL("bit " << bit << ": " << result);
    if (!result.empty() && result.find(kName) == std::string::npos)
      FAIL("bit " << bit << ": " << result);
    harmless += result.empty() ? 1 : 0;
  }
  CHECK(harmless < header_end * 8 / 4);  // metadata and padding only
}
