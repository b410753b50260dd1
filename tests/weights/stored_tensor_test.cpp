// Expansion of packed weights: golden blocks, loops against the composed form, scales, rotation.
#include "weights/stored_tensor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <limits>

using namespace t2v;
using namespace t2v::weights;

namespace {

constexpr std::array<Encoding, 10> kBlockTypes{
    Encoding::kQ4_0, Encoding::kQ4_1, Encoding::kQ5_0, Encoding::kQ5_1, Encoding::kQ8_0,
    Encoding::kQ2_K, Encoding::kQ3_K, Encoding::kQ4_K, Encoding::kQ5_K, Encoding::kQ6_K};

constexpr std::array<at::ScalarType, 3> kDestinations{at::kFloat, at::kBFloat16, at::kHalf};

at::Tensor expanded(const StoredTensor& stored, at::ScalarType dtype) {
  at::Tensor destination = at::empty(stored.shape, dtype);
  expand_into(stored, destination);
  return destination;
}

// Byte for byte, so that signs of zeros count.
bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

void check_against_reference(const StoredTensor& stored) {
  for (const at::ScalarType dtype : kDestinations) {
    CAPTURE(dtype);
    CHECK(same_bits(expanded(stored, dtype), expand_reference(stored, dtype).contiguous()));
  }
}

// Bytes (37 i + 11) mod 256 with d = 0.5 and dmin (or m) = 0.25 in their places.
at::Tensor golden_block(Encoding encoding) {
  const int64_t size = block_size(encoding).bytes;
  at::Tensor block = at::empty({size}, at::kByte);
  auto* bytes = block.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>((37 * i + 11) % 256);
  const auto put = [&](int64_t at, uint16_t half) { std::memcpy(bytes + at, &half, sizeof half); };
  constexpr uint16_t kHalf = 0x3800;
  constexpr uint16_t kQuarter = 0x3400;
  const bool at_end =
      encoding == Encoding::kQ6_K || encoding == Encoding::kQ3_K || encoding == Encoding::kQ2_K;
  const int64_t place = encoding == Encoding::kQ2_K ? size - 4 : at_end ? size - 2 : 0;
  put(place, kHalf);
  const bool has_minimum = encoding == Encoding::kQ4_1 || encoding == Encoding::kQ5_1 ||
                           encoding == Encoding::kQ2_K || encoding == Encoding::kQ4_K ||
                           encoding == Encoding::kQ5_K;
  if (has_minimum) put(place + 2, kQuarter);
  return block;
}

struct Golden {
  Encoding encoding;
  std::array<double, 6> values;  // y[0], y[1], y[16], y[N/2-1], y[N/2], y[N-1]
  double sum;
};

constexpr std::array<Golden, 6> kGolden{{
    {Encoding::kQ8_0, {42.5, 61, -45.5, -64, -45.5, -24}, -88},
    {Encoding::kQ4_0, {-1.5, 1, -1.5, -4, -1.5, 0}, -10.5},
    {Encoding::kQ5_0, {4.5, -1, 7, -6, 7, 0.5}, 7.5},
    {Encoding::kQ4_K, {157.75, -12.75, 157.75, 40.5, 211.5, 24.25}, 27220},
    {Encoding::kQ5_K, {405.75, -12.75, 405.75, -1.5, 523.5, 54.25}, 58108},
    {Encoding::kQ6_K, {-715.5, 848, -216, 750, -175.5, -30}, 2306},
}};

// The regular Hadamard matrix by its definition: H4 x H4 x ...
at::Tensor hadamard(int64_t group) {
  const at::Tensor h4 =
      at::tensor({1., 1., 1., -1., 1., 1., -1., 1., 1., -1., 1., 1., -1., 1., 1., 1.})
          .view({4, 4}) *
      0.5;
  at::Tensor matrix = at::eye(1);
  for (int64_t size = 1; size < group; size *= 4) matrix = at::kron(matrix, h4.to(at::kFloat));
  return matrix;
}

StoredTensor int8_weight(int64_t rows, int64_t columns) {
  return {.payload = at::randint(-128, 128, {rows, columns}, at::kChar), .shape = {rows, columns}};
}

}  // namespace

TEST_CASE("GGML blocks: golden values") {
  for (const Golden& golden : kGolden) {
    CAPTURE(encoding_name(golden.encoding));
    const int64_t n = block_size(golden.encoding).elements;
    const StoredTensor stored{
        .payload = golden_block(golden.encoding), .encoding = golden.encoding, .shape = {1, n}};
    for (const at::Tensor& y :
         {expanded(stored, at::kFloat).view(-1), expand_reference(stored, at::kFloat).view(-1)}) {
      const std::array<int64_t, 6> places{0, 1, 16, n / 2 - 1, n / 2, n - 1};
      for (size_t i = 0; i < places.size(); ++i)
        CHECK(y[places[i]].item<double>() == golden.values[i]);
      CHECK(y.sum().item<double>() == golden.sum);
    }
  }
}

TEST_CASE("GGML blocks: golden values of the types without a published sum") {
  // By the formulas of the format, element by element.
  const StoredTensor q4_1{
      .payload = golden_block(Encoding::kQ4_1), .encoding = Encoding::kQ4_1, .shape = {32}};
  const auto byte = [](int64_t i) { return static_cast<int>((37 * i + 11) % 256); };
  const at::Tensor y4 = expanded(q4_1, at::kFloat);
  for (int64_t j = 0; j < 16; ++j) {
    CHECK(y4[j].item<double>() == 0.5 * (byte(4 + j) & 15) + 0.25);
    CHECK(y4[j + 16].item<double>() == 0.5 * (byte(4 + j) >> 4) + 0.25);
  }
  const StoredTensor q2{
      .payload = golden_block(Encoding::kQ2_K), .encoding = Encoding::kQ2_K, .shape = {256}};
  const at::Tensor y2 = expanded(q2, at::kFloat);
  const StoredTensor q3{
      .payload = golden_block(Encoding::kQ3_K), .encoding = Encoding::kQ3_K, .shape = {256}};
  const at::Tensor y3 = expanded(q3, at::kFloat);
  for (int64_t e = 0; e < 256; ++e) {
    const int64_t n = e / 128;
    const int64_t j = e % 128 / 32;
    const int64_t l = e % 32;
    const int s = byte(8 * n + 2 * j + l / 16);
    const int v = byte(16 + 32 * n + l) >> (2 * j) & 3;
    CHECK(y2[e].item<double>() == 0.5 * (s & 15) * v - 0.25 * (s >> 4));
    const int64_t k = 8 * n + 2 * j + l / 16;
    const int low = k < 8 ? byte(96 + k) & 15 : byte(96 + k - 8) >> 4;
    const int high = byte(96 + 8 + (k & 3)) >> (2 * (k >> 2)) & 3;
    const int hot = byte(l) >> (4 * n + j) & 1;
    const int v3 = (byte(32 + 32 * n + l) >> (2 * j) & 3) - (hot != 0 ? 0 : 4);
    CHECK(y3[e].item<double>() == 0.5 * ((low | high << 4) - 32) * v3);
  }
}

TEST_CASE("GGML blocks: loops equal the composed form bit by bit") {
  at::manual_seed(1);
  for (const Encoding encoding : kBlockTypes) {
    CAPTURE(encoding_name(encoding));
    const BlockSize block = block_size(encoding);
    // Several tasks and segments, and a last one that is not full. Small bytes: finite scales.
    const int64_t rows = 37;
    const int64_t columns = 31 * 256;
    const int64_t bytes = rows * columns / block.elements * block.bytes;
    check_against_reference({.payload = at::randint(0, 120, {bytes}, at::kByte),
                             .encoding = encoding,
                             .shape = {rows, columns}});
  }
}

TEST_CASE("GGML blocks: scales of every magnitude") {
  // All halves but NaN, as d of a Q8_0 block: subnormals, infinities, signs.
  at::Tensor payload = at::empty({65536, 34}, at::kByte);
  auto* bytes = payload.mutable_data_ptr<uint8_t>();
  for (uint32_t half = 0; half < 65536; ++half) {
    const auto bits = static_cast<uint16_t>((half & 0x7fffU) > 0x7c00U ? 0 : half);
    std::memcpy(bytes + size_t{34} * half, &bits, sizeof bits);
    for (int j = 0; j < 32; ++j)
      bytes[size_t{34} * half + 2 + static_cast<size_t>(j)] = static_cast<uint8_t>(8 * j + 1);
  }
  check_against_reference(
      {.payload = payload.view({-1}), .encoding = Encoding::kQ8_0, .shape = {65536, 32}});
}

TEST_CASE("8-bit weights: scales for all, for rows, for blocks") {
  at::manual_seed(2);
  for (const int64_t columns : {int64_t{1}, int64_t{127}, int64_t{300}, int64_t{5000}}) {
    CAPTURE(columns);
    StoredTensor stored = int8_weight(200, columns);
    check_against_reference(stored);
    stored.scale = at::rand({1, 1}).squeeze();
    check_against_reference(stored);
    stored.scale = at::rand({200, 1});
    check_against_reference(stored);
    CHECK(expanded(stored, at::kFloat).equal(stored.payload.to(at::kFloat) * stored.scale));
    stored.scale = at::rand({200, 1}).view({200});
    check_against_reference(stored);
    stored.scale = at::rand({2, (columns + 127) / 128});
    stored.block_scale = true;
    check_against_reference(stored);
  }
  StoredTensor stored = int8_weight(200, 300);
  stored.scale = at::rand({2, 3});
  stored.block_scale = true;
  const at::Tensor w = expanded(stored, at::kFloat);
  for (const auto& [n, k] : {std::pair(0, 0), {127, 127}, {128, 0}, {199, 299}, {5, 256}}) {
    CHECK(w[n][k].item<float>() ==
          stored.payload[n][k].item<float>() * stored.scale[n / 128][k / 128].item<float>());
  }
}

TEST_CASE("8-bit floats: every code") {
  for (const at::ScalarType type : {at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    CAPTURE(type);
    at::Tensor codes = at::arange(256).to(at::kByte).view({16, 16});
    // NaN has many bits: one of them stands for all.
    const at::Tensor nan = codes.view(type).to(at::kFloat).isnan();
    codes.masked_fill_(nan, 0);
    StoredTensor stored{.payload = codes.view(type), .shape = {16, 16}};
    check_against_reference(stored);
    stored.scale = at::rand({1, 1});
    check_against_reference(stored);
    stored.scale = at::rand({16, 1});
    check_against_reference(stored);
  }
}

TEST_CASE("narrowing rounds like the tensor's own conversion") {
  // fp32 values around every half and bfloat16: through a scale of an int8 weight of ones.
  at::manual_seed(3);
  const int64_t n = 200'000;
  const at::Tensor bits = at::randint(0, std::numeric_limits<int32_t>::max(), {n}, at::kInt);
  at::Tensor values = bits.view(at::kFloat).clone();
  values.masked_fill_(values.isnan(), 65519.99F);
  const std::array<float, 8> special{65504.F,       65519.99F,     65520.F,        65536.F,
                                     5.9604645e-8F, 2.9802322e-8F, 2.98023259e-8F, 6.1e-5F};
  for (size_t i = 0; i < special.size(); ++i) values[static_cast<int64_t>(i)] = special[i];
  const StoredTensor stored{.payload = at::empty({n, 1}, at::kChar).fill_(1),
                            .shape = {n, 1},
                            .scale = values.view({n, 1})};
  check_against_reference(stored);
}

TEST_CASE("rotated weights are turned back") {
  at::manual_seed(4);
  for (const int64_t group : {int64_t{4}, int64_t{16}, int64_t{64}, int64_t{256}}) {
    CAPTURE(group);
    const at::Tensor r = hadamard(group);
    CHECK(r.equal(r.t()));
    CHECK(r.matmul(r).sub(at::eye(group)).abs().max().item<double>() < 1e-6);
    CHECK(r.sum(1).sub(1).abs().max().item<double>() < 1e-6);  // regular
    StoredTensor stored = int8_weight(9, 4096 + 256);
    stored.scale = at::rand({9, 1});
    stored.rotation = group;
    check_against_reference(stored);
    const at::Tensor plain = (stored.payload.to(at::kFloat) * stored.scale).view({-1, group});
    const at::Tensor expected = plain.matmul(r).view({9, -1});
    CHECK(expanded(stored, at::kFloat).sub(expected).abs().max().item<double>() < 1e-3);
  }
}

TEST_CASE("plain tensors, with and without a scale") {
  at::manual_seed(5);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    CAPTURE(type);
    StoredTensor stored{.payload = at::randn({5, 7}).to(type), .shape = {5, 7}};
    check_against_reference(stored);
    CHECK(expanded(stored, at::kFloat).equal(stored.payload.to(at::kFloat)));
    stored.scale = at::rand({5, 1});
    check_against_reference(stored);
  }
  CHECK_FALSE(is_quantised({.payload = at::randn({2})}));
  CHECK(is_quantised({.payload = at::empty({2}, at::kChar)}));
  CHECK(is_quantised({.payload = at::empty({34}, at::kByte), .encoding = Encoding::kQ8_0}));
}

TEST_CASE("empty tensors expand to nothing") {
  check_against_reference(
      {.payload = at::empty({0}, at::kByte), .encoding = Encoding::kQ4_K, .shape = {0, 256}});
  check_against_reference({.payload = at::empty({0, 3}, at::kChar), .shape = {0, 3}});
  check_against_reference({.payload = at::empty({3, 0}, at::kChar), .shape = {3, 0}});
}
