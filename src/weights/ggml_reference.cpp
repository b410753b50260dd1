#include "weights/ggml_reference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bitwise_and.h>
#include <ATen/ops/bitwise_or.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "core/check.h"

namespace t2v::weights {
namespace {

// The blocks as a table of bytes, one row each. Fields are fp32 or int32 with one row for a block.
struct Blocks {
  at::Tensor bytes;  // uint8 [blocks, bytes of a block]

  [[nodiscard]] int64_t count() const { return bytes.size(0); }
  [[nodiscard]] at::Tensor half(int64_t at) const {  // [blocks, 1]
    return bytes.narrow(1, at, 2).contiguous().view(at::kHalf).to(at::kFloat);
  }
  [[nodiscard]] at::Tensor whole(int64_t at, int64_t size) const {  // int32 [blocks, size]
    return bytes.narrow(1, at, size).to(at::kInt);
  }
  [[nodiscard]] at::Tensor signed_whole(int64_t at, int64_t size) const {
    return bytes.narrow(1, at, size).contiguous().view(at::kChar).to(at::kInt);
  }
};

// (x >> shift) & mask
at::Tensor bits(const at::Tensor& x, int64_t shift, int64_t mask) {
  return at::bitwise_and(at::bitwise_right_shift(x, shift), mask);
}

// Low nibbles, then high ones: int32 [blocks, 32].
at::Tensor nibbles(const at::Tensor& q) { return at::cat({bits(q, 0, 15), bits(q, 4, 15)}, 1); }

// Bit j of a little-endian 32-bit field, moved to bit 4: int32 [blocks, 32].
at::Tensor fifth_bits(const Blocks& blocks, int64_t at) {
  const at::Tensor word = blocks.whole(at, 4);  // [blocks, 4], 8 bits each
  const at::Tensor shifts = at::arange(8, word.options()).view({1, 1, 8});
  const at::Tensor bit = at::bitwise_and(at::bitwise_right_shift(word.unsqueeze(2), shifts), 1);
  return bit.view({blocks.count(), 32}) * 16;
}

at::Tensor decode_32(Encoding encoding, const Blocks& b) {
  const at::Tensor d = b.half(0);
  switch (encoding) {
    case Encoding::kQ8_0:
      return d * b.signed_whole(2, 32).to(at::kFloat);
    case Encoding::kQ4_0:
      return d * (nibbles(b.whole(2, 16)) - 8).to(at::kFloat);
    case Encoding::kQ4_1:
      return d * nibbles(b.whole(4, 16)).to(at::kFloat) + b.half(2);
    case Encoding::kQ5_0:
      return d * (at::bitwise_or(nibbles(b.whole(6, 16)), fifth_bits(b, 2)) - 16).to(at::kFloat);
    default:
      return d * at::bitwise_or(nibbles(b.whole(8, 16)), fifth_bits(b, 4)).to(at::kFloat) +
             b.half(2);
  }
}

// Eight 6-bit (scale, minimum) pairs from 12 bytes: fp32 [blocks, 8, 1] each.
struct ScaleMins {
  at::Tensor scale;
  at::Tensor minimum;
};
ScaleMins scale_mins(const Blocks& blocks, int64_t at) {
  const at::Tensor first = blocks.whole(at, 4);
  const at::Tensor second = blocks.whole(at + 4, 4);
  const at::Tensor third = blocks.whole(at + 8, 4);
  const at::Tensor scale =
      at::cat({bits(first, 0, 63), at::bitwise_or(bits(third, 0, 15), bits(first, 6, 3) * 16)}, 1);
  const at::Tensor minimum = at::cat(
      {bits(second, 0, 63), at::bitwise_or(bits(third, 4, 15), bits(second, 6, 3) * 16)}, 1);
  return {scale.to(at::kFloat).unsqueeze(2), minimum.to(at::kFloat).unsqueeze(2)};
}

// Q4_K and Q5_K: groups of 32 bytes give 32 low nibbles, then 32 high ones.
at::Tensor decode_q45_k(const Blocks& b, bool five_bits) {
  const int64_t n = b.count();
  const at::Tensor q = b.whole(five_bits ? 48 : 16, 128).view({n, 4, 32});
  at::Tensor value = at::stack({bits(q, 0, 15), bits(q, 4, 15)}, 2).view({n, 8, 32});
  if (five_bits) {
    const at::Tensor h = b.whole(16, 32).unsqueeze(1);  // [n, 1, 32]
    const at::Tensor shifts = at::arange(8, h.options()).view({1, 8, 1});
    value = value + at::bitwise_and(at::bitwise_right_shift(h, shifts), 1) * 16;
  }
  const ScaleMins pairs = scale_mins(b, 4);
  const at::Tensor d = b.half(0).unsqueeze(2);
  const at::Tensor dmin = b.half(2).unsqueeze(2);
  return (d * pairs.scale) * value.to(at::kFloat) - dmin * pairs.minimum;
}

at::Tensor decode_q6_k(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor ql = b.whole(0, 128).view({n, 2, 64});  // by half
  const at::Tensor qh = b.whole(128, 64).view({n, 2, 1, 32});
  const at::Tensor low = at::cat({bits(ql, 0, 15), bits(ql, 4, 15)}, 2).view({n, 2, 4, 32});
  const at::Tensor shifts = at::arange(4, qh.options()).view({1, 1, 4, 1}) * 2;
  const at::Tensor high = at::bitwise_and(at::bitwise_right_shift(qh, shifts), 3) * 16;
  const at::Tensor value = (at::bitwise_or(low, high) - 32).to(at::kFloat).view({n, 16, 16});
  const at::Tensor scale = b.signed_whole(192, 16).to(at::kFloat).view({n, 16, 1});
  return (b.half(208).unsqueeze(2) * scale) * value;
}

// 2-bit values of Q2_K and Q3_K, in the order of the elements: int32 [blocks, 2, 4, 32].
at::Tensor pairs_of_bits(const at::Tensor& q) {
  const at::Tensor halves = q.view({q.size(0), 2, 1, 32});
  const at::Tensor shifts = at::arange(4, q.options()).view({1, 1, 4, 1}) * 2;
  return at::bitwise_and(at::bitwise_right_shift(halves, shifts), 3);
}

at::Tensor decode_q3_k(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor mask = b.whole(0, 32).view({n, 1, 1, 32});
  const at::Tensor shifts = at::arange(8, mask.options()).view({1, 2, 4, 1});
  const at::Tensor third = at::bitwise_and(at::bitwise_right_shift(mask, shifts), 1) * 4;
  const at::Tensor value = (pairs_of_bits(b.whole(32, 64)) + third - 4).to(at::kFloat);
  const at::Tensor s = b.whole(96, 8);
  const at::Tensor low = at::cat({bits(s, 0, 15), bits(s, 4, 15)}, 1);  // [n, 16]
  const at::Tensor tops = b.whole(104, 4).unsqueeze(1);                 // [n, 1, 4]
  const at::Tensor top_shifts = at::arange(4, tops.options()).view({1, 4, 1}) * 2;
  const at::Tensor high =
      at::bitwise_and(at::bitwise_right_shift(tops, top_shifts), 3).view({n, 16}) * 16;
  const at::Tensor scale = b.half(108) * (at::bitwise_or(low, high) - 32).to(at::kFloat);
  return scale.view({n, 16, 1}) * value.view({n, 16, 16});
}

at::Tensor decode_q2_k(const Blocks& b) {
  const int64_t n = b.count();
  const at::Tensor s = b.whole(0, 16);
  const at::Tensor scale = b.half(80) * bits(s, 0, 15).to(at::kFloat);
  const at::Tensor minimum = b.half(82) * bits(s, 4, 15).to(at::kFloat);
  const at::Tensor value = pairs_of_bits(b.whole(16, 64)).to(at::kFloat).view({n, 16, 16});
  return scale.view({n, 16, 1}) * value - minimum.view({n, 16, 1});
}

}  // namespace

at::Tensor decode_ggml(Encoding encoding, const at::Tensor& payload) {
  const BlockSize block = block_size(encoding);
  T2V_ASSERT(block.bytes > 0 && payload.dim() == 1 && payload.scalar_type() == at::kByte &&
             payload.size(0) % block.bytes == 0);
  const Blocks blocks{payload.view({-1, block.bytes})};
  const auto decode = [&]() {
    switch (encoding) {
      case Encoding::kQ2_K:
        return decode_q2_k(blocks);
      case Encoding::kQ3_K:
        return decode_q3_k(blocks);
      case Encoding::kQ4_K:
        return decode_q45_k(blocks, false);
      case Encoding::kQ5_K:
        return decode_q45_k(blocks, true);
      case Encoding::kQ6_K:
        return decode_q6_k(blocks);
      default:
        return decode_32(encoding, blocks);
    }
  };
  return decode().reshape({-1});
}

}  // namespace t2v::weights
