// Weights to int8 rows: the arithmetic against a plain twin, its errors, its corners, its sources.
#include "weights/quantise_rows.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "scratch.h"
#include "weights/partial_file.h"
#include "weights/safetensors_writer.h"
#include "weights/stored_tensor.h"
#include "weights/weight_map.h"

using namespace t2v;
using namespace t2v::weights;

namespace {

// One factor H4 of R at a time, by its definition.
void rotate_plainly(std::vector<float>& row, int64_t group) {
  for (size_t inner = 1; inner < static_cast<size_t>(group); inner *= 4) {
    for (size_t base = 0; base < row.size(); base += 4 * inner) {
      for (size_t i = base; i < base + inner; ++i) {
        const std::array<float, 4> v = {row[i], row[i + inner], row[i + 2 * inner],
                                        row[i + 3 * inner]};
        row[i] = ((v[0] + v[1]) + (v[2] - v[3])) * 0.5F;
        row[i + inner] = ((v[0] + v[1]) - (v[2] - v[3])) * 0.5F;
        row[i + 2 * inner] = ((v[0] - v[1]) + (v[2] + v[3])) * 0.5F;
        row[i + 3 * inner] = ((v[2] + v[3]) - (v[0] - v[1])) * 0.5F;
      }
    }
  }
}

struct PlainRow {
  std::vector<int8_t> values;
  float scale = 0;
};

PlainRow quantise_plainly(std::vector<float> row, int64_t rotation) {
  if (rotation > 1) rotate_plainly(row, rotation);
  float most = 1e-5F;
  for (const float value : row) most = std::max(most, std::fabs(value));
  PlainRow plain{{}, most / 127.F};
  for (const float value : row)
    plain.values.push_back(
        static_cast<int8_t>(std::clamp(std::nearbyint(value / plain.scale), -127.F, 127.F)));
  return plain;
}

std::vector<float> row_of(const at::Tensor& weight, int64_t row) {
  const at::Tensor wide = weight[row].to(at::kFloat).contiguous();
  const auto* values = wide.const_data_ptr<float>();
  return {values, values + wide.numel()};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

at::Tensor expanded(const Int8Rows& rows, int64_t rotation) {
  StoredTensor stored;
  stored.payload = rows.values;
  stored.shape = rows.values.sizes().vec();
  stored.scale = rows.row_scale;
  stored.rotation = rotation;
  at::Tensor out = at::empty(stored.shape, at::kFloat);
  expand_into(stored, out);
  return out;
}

}  // namespace

TEST_CASE("rows are those of the plain twin, in every type and rotation", "[quantise]") {
  for (const int64_t columns : {1, 3, 16, 64, 100, 208, 256, 1536, 8960}) {
    for (const int64_t asked : {0, 64, 256}) {
      const int64_t rotation = rotation_group(asked, columns);
      for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
        CAPTURE(columns, rotation, dtype);
        const at::Tensor weight = at::randn({5, columns}).to(dtype);
        const Int8Rows rows = quantise_rows(weight, rotation);
        for (int64_t row = 0; row < 5; ++row) {
          const PlainRow plain = quantise_plainly(row_of(weight, row), rotation);
          CHECK(rows.row_scale[row].item<float>() == plain.scale);
          CHECK(std::memcmp(rows.values[row].const_data_ptr(), plain.values.data(),
                            plain.values.size()) == 0);
        }
      }
    }
  }
}

TEST_CASE("every half is widened exactly", "[quantise]") {
  at::Tensor all = at::empty({1, 65536}, at::kHalf);
  auto* bits = static_cast<uint16_t*>(all.mutable_data_ptr());
  for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>((i & 0x7c00) == 0x7c00 ? 0 : i);
  const Int8Rows narrow = quantise_rows(all, 0);
  const Int8Rows wide = quantise_rows(all.to(at::kFloat), 0);
  CHECK(same_bits(narrow.values, wide.values));
  CHECK(same_bits(narrow.row_scale, wide.row_scale));
  // Small ones count only where nothing larger is there.
  const at::Tensor small = (at::rand({4, 64}) * 1e-6).to(at::kHalf);
  CHECK(same_bits(quantise_rows(small, 0).values, quantise_rows(small.to(at::kFloat), 0).values));
}

TEST_CASE("errors are those of the weight and what its int8 stands for", "[quantise]") {
  const at::Tensor weight = at::randn({7, 1056});
  for (const int64_t rotation : {0, 16}) {
    std::vector<RowError> errors(7);
    const Int8Rows rows = quantise_rows(weight, rotation, errors);
    const at::Tensor restored = expanded(rows, rotation).to(at::kDouble);
    const at::Tensor e = weight.to(at::kDouble) - restored;
    for (int64_t row = 0; row < 7; ++row) {
      const RowError& error = errors[static_cast<size_t>(row)];
      const at::Tensor w = weight[row].to(at::kDouble);
      CHECK(error.signal == Approx(w.pow(2).sum().item<double>()).epsilon(1e-5));
      CHECK(error.noise == Approx(e[row].pow(2).sum().item<double>()).epsilon(1e-4));
      CHECK(error.overlap == Approx((w * e[row]).sum().item<double>()).margin(1e-4));
      CHECK(error.max_error == Approx(e[row].abs().max().item<double>()).epsilon(1e-3));
    }
  }
}

TEST_CASE("what is on the grid stays there", "[quantise]") {
  const Int8Rows once = quantise_rows(at::randn({16, 512}), 256);
  const at::Tensor values = expanded(once, 256);
  const Int8Rows twice = quantise_rows(values, 256);
  CHECK((once.values.to(at::kInt) - twice.values.to(at::kInt)).abs().max().item<int>() == 0);
  CHECK(((once.row_scale - twice.row_scale) / once.row_scale).abs().max().item<float>() < 1e-6F);
}

TEST_CASE("a row of outliers loses less when it is rotated", "[quantise]") {
  at::Tensor weight = at::randn({4, 1024});
  weight.select(1, 100).mul_(60);
  const auto noise = [&](int64_t rotation) {
    std::vector<RowError> errors(4);
    (void)quantise_rows(weight, rotation, errors);
    double sum = 0;
    for (const RowError& error : errors) sum += error.noise;
    return sum;
  };
  CHECK(noise(256) < noise(0) / 10);
}

TEST_CASE("zeros stay zeros, rows that are not finite are told by their scales", "[quantise]") {
  at::Tensor weight = at::zeros({6, 256});
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  weight[2][255] = std::numeric_limits<float>::quiet_NaN();
  weight[4][0] = -kInfinity;
  for (const int64_t rotation : {0, 256}) {
    const Int8Rows rows = quantise_rows(weight, rotation);
    CHECK(rows.values.abs().max().item<int>() == 0);
    CHECK(rows.row_scale[0].item<float>() == 1e-5F / 127.F);
    CHECK_FALSE(std::isfinite(rows.row_scale[2].item<float>()));
    CHECK_FALSE(std::isfinite(rows.row_scale[4].item<float>()));
    CHECK(first_broken_row(rows.row_scale) == 2);
  }
  CHECK(first_broken_row(at::zeros({3})) == -1);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    CHECK(first_row_not_finite(weight.to(dtype)) == 2);
    CHECK(first_row_not_finite(at::randn({9, 33}).to(dtype)) == -1);
  }
  CHECK(first_row_not_finite(at::zeros({0, 4})) == -1);
}

TEST_CASE("results do not depend on the number of threads", "[quantise]") {
  const at::Tensor weight = at::randn({64, 4096});
  const int before = at::get_num_threads();
  std::vector<RowError> one(64);
  std::vector<RowError> many(64);
  at::set_num_threads(1);
  const Int8Rows alone = quantise_rows(weight, 256, one);
  at::set_num_threads(4);
  const Int8Rows together = quantise_rows(weight, 256, many);
  at::set_num_threads(before);
  CHECK(same_bits(alone.values, together.values));
  for (size_t row = 0; row < one.size(); ++row) CHECK(one[row].noise == many[row].noise);
}

TEST_CASE("groups are as narrow as a width demands", "[quantise]") {
  CHECK(rotation_group(256, 5120) == 256);
  CHECK(rotation_group(64, 5120) == 64);
  CHECK(rotation_group(256, 192) == 64);
  CHECK(rotation_group(256, 208) == 16);
  CHECK(rotation_group(256, 260) == 4);
  CHECK(rotation_group(256, 30) == 0);
  CHECK(rotation_group(0, 5120) == 0);
}

TEST_CASE("a stored weight gives the rows that t2v quantize would write", "[quantise]") {
  const test::Scratch scratch;
  const at::Tensor weight = at::randn({32, 128}).to(at::kBFloat16);
  const Int8Rows rows = quantise_rows(weight, 64);
  const std::string plain = scratch / "plain.safetensors";
  const std::string packed = scratch / "packed.safetensors";
  write_safetensors(plain, {{"blocks.0.ffn.0.weight", weight}});
  write_safetensors(packed,
                    {{"blocks.0.ffn.0.weight", rows.values},
                     {"blocks.0.ffn.0.weight_scale", rows.row_scale.view({32, 1})}},
                    {{"t2v.rotate", "64"}});
  const std::string name = "blocks.0.ffn.0.weight";
  const WeightMap from_plain = WeightMap::open(plain, ModelPart::kTransformer, "transformer");
  const WeightMap from_packed = WeightMap::open(packed, ModelPart::kTransformer, "transformer");
  CHECK_FALSE(from_plain.int8_rotation(name));
  CHECK(from_packed.int8_rotation(name) == 64);
  for (const WeightMap* map : {&from_plain, &from_packed}) {
    const Int8Rows taken = map->take_int8(name, 64);
    CHECK(same_bits(taken.values, rows.values));
    CHECK(same_bits(taken.row_scale, rows.row_scale));
  }
  // Another group: expanded, then quantised again.
  const Int8Rows other = from_packed.take_int8(name, 0);
  CHECK(same_bits(other.values, quantise_rows(from_packed.take(name, at::kFloat), 0).values));
}

TEST_CASE("a row of a file that is not finite is refused by tensor and row", "[quantise]") {
  const test::Scratch scratch;
  at::Tensor weight = at::randn({32, 128});
  weight[9][1] = std::numeric_limits<float>::quiet_NaN();
  const std::string path = scratch / "nan.safetensors";
  write_safetensors(path, {{"blocks.0.ffn.0.weight", weight}});
  const WeightMap map = WeightMap::open(path, ModelPart::kTransformer, "transformer");
  CHECK_THROWS_WITH(
      map.take_int8("blocks.0.ffn.0.weight", 64),
      Catch::Contains("'blocks.0.ffn.0.weight': row 9 ") && Catch::Contains("nan.safetensors"));
}

TEST_CASE("a partial file is continued, and whole when it has its name", "[quantise]") {
  const test::Scratch scratch;
  const std::string path = scratch / "x.safetensors";
  const std::vector<HeaderTensor> tensors = {{"a", at::kFloat, {3}}, {"b", at::kChar, {5}}};
  const PartialFile::Metadata first = {{"hash", "0000"}};
  const at::Tensor a = at::randn({3});
  const at::Tensor b = at::randn({5}).mul(20).to(at::kChar);
  {
    PartialFile file(path, tensors, first);
    CHECK_FALSE(file.is_continued());
    CHECK(file.offset_of(0) % kPartialFileAlignment == 0);
    file.write(file.offset_of(1), b.const_data_ptr(), b.nbytes());
    file.sync();
  }
  PartialFile file(path, tensors, first);
  CHECK(file.is_continued());
  file.write(file.offset_of(0), a.const_data_ptr(), a.nbytes());
  file.commit({{"hash", "1234"}});
  const Checkpoint read = Checkpoint::open(path);
  CHECK(same_bits(read.load("a"), a));
  CHECK(same_bits(read.load("b"), b));
  CHECK(read.metadata().at("hash") == "1234");
  // Another header: nothing of it counts.
  { PartialFile begun(path, tensors, first); }
  CHECK_FALSE(PartialFile(path, {{"a", at::kFloat, {4}}}, first).is_continued());
}
