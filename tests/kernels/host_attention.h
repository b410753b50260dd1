// A call of flash_attention on the host: storage, arguments, the fp64 truth and the comparison.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

#include "host_matrix.h"
#include "t2v/kernels/flash_attention.h"

namespace t2v::kernels {

struct AttentionCase {
  std::int64_t heads = 1;
  std::int64_t queries = 1;
  std::int64_t keys = 1;
  std::int64_t head_size = 128;
  DType dtype = DType::kBFloat16;
  std::int64_t extra_stride = 0;  // elements between rows, poisoned
  float query_size = 1.0F;        // standard deviation
};

// q, k, v and out as matrices of [rows * heads, D]: row l of head n is matrix row n * L + l, except
// in `out`, which is [L, N*D] as the op wants it.
class HostAttention {
 public:
  explicit HostAttention(const AttentionCase& c, unsigned seed = 1)
      : shape(c),
        q(c.dtype, c.heads * c.queries, c.head_size, c.extra_stride),
        k(c.dtype, c.heads * c.keys, c.head_size, c.extra_stride),
        v(c.dtype, c.heads * c.keys, c.head_size, c.extra_stride),
        out(c.dtype, c.queries, c.heads * c.head_size, c.extra_stride),
        bias(DType::kFloat32, 1, c.keys),
        lse(DType::kFloat32, c.heads, c.queries) {
    q.fill_normal(seed, 0.0F, c.query_size);
    k.fill_normal(seed + 1);
    v.fill_normal(seed + 2, 0.25F);
    bias.fill_normal(seed + 3, 0.0F, 3.0F);
  }

  FlashAttentionArgs args() {
    FlashAttentionArgs a;
    a.q = q.data();
    a.k = k.data();
    a.v = v.data();
    a.out = out.data();
    a.q_row_stride = q.stride();
    a.k_row_stride = k.stride();
    a.v_row_stride = v.stride();
    a.out_row_stride = out.stride();
    a.q_head_stride = shape.queries * q.stride();
    a.k_head_stride = shape.keys * k.stride();
    a.v_head_stride = shape.keys * v.stride();
    a.out_head_stride = shape.head_size;
    a.num_heads = shape.heads;
    a.num_queries = shape.queries;
    a.num_keys = shape.keys;
    a.head_size = shape.head_size;
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_size)));
    a.dtype = shape.dtype;
    return a;
  }

  // Compares out (and lse when asked for) with the truth over the keys `rows[block]` that query
  // block `block` sees; an empty list of blocks means all keys.
  void check(const FlashAttentionArgs& a,
             const std::vector<std::vector<std::int64_t>>& rows = {}) const {
    std::vector<std::int64_t> all(static_cast<std::size_t>(shape.keys));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
    double dot = 0;
    double got_norm = 0;
    double want_norm = 0;
    std::int64_t wrong = 0;
    for (std::int64_t n = 0; n < shape.heads; ++n) {
      for (std::int64_t l = 0; l < shape.queries; ++l) {
        const auto block = static_cast<std::size_t>(l / kQueryBlock);
        const Row want = truth(a, n, l, rows.empty() ? all : rows[block]);
        for (std::int64_t d = 0; d < shape.head_size; ++d) {
          const double expected = want.out[static_cast<std::size_t>(d)];
          const double actual = out.get(l, n * shape.head_size + d);
          dot += actual * expected;
          got_norm += actual * actual;
          want_norm += expected * expected;
          wrong += !(std::fabs(actual - expected) <= tolerance() * (1 + std::fabs(expected)));
        }
        if (a.lse)
          wrong += !(std::fabs(lse.get(n, l) - want.lse) <= 2e-5 * (1 + std::fabs(want.lse)));
      }
    }
    CHECK(wrong == 0);
    CHECK(dot / std::sqrt(got_norm * want_norm) > 0.9999);
    CHECK(out.surroundings_intact());
  }

  // Bit by bit, NaN included.
  [[nodiscard]] bool same_output(const HostAttention& other) const {
    std::int64_t different = 0;
    for (std::int64_t l = 0; l < shape.queries; ++l) {
      for (std::int64_t c = 0; c < shape.heads * shape.head_size; ++c)
        different += !(out.get(l, c) == other.out.get(l, c));
    }
    return different == 0;
  }

  AttentionCase shape;
  HostMatrix q, k, v, out, bias, lse;

 private:
  struct Row {
    std::vector<double> out;
    double lse = 0;
  };

  // P and the output are rounded to the storage type: one unit each, of values around 1.
  [[nodiscard]] double tolerance() const {
    return shape.dtype == DType::kBFloat16 ? 2 * 0x1p-8 : 2 * 0x1p-11;
  }

  [[nodiscard]] Row truth(const FlashAttentionArgs& a, std::int64_t head, std::int64_t query,
                          const std::vector<std::int64_t>& rows) const {
    std::vector<double> scores;
    for (const std::int64_t row : rows) {
      double sum = 0;
      for (std::int64_t d = 0; d < shape.head_size; ++d)
        sum += q.get(head * shape.queries + query, d) * k.get(head * shape.keys + row, d);
      scores.push_back(sum * a.scale + (a.key_bias ? bias.get(0, row) : 0.0));
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - largest);
    Row result{std::vector<double>(static_cast<std::size_t>(shape.head_size)),
               largest + std::log(total)};
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::int64_t d = 0; d < shape.head_size; ++d)
        result.out[static_cast<std::size_t>(d)] +=
            scores[i] / total * v.get(head * shape.keys + rows[i], d);
    }
    return result;
  }
};

}  // namespace t2v::kernels
