// flash_attention_int8, flash_attention_int8_kv and quantise_heads: the kernels' own source, run on
// the host, against fp64 over exactly the int8 numbers that they were given.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "host_attention.h"
#include "host_cuda/host_cuda.h"
#include "t2v/kernels/flash_attention_int8.h"
#include "t2v/kernels/flash_attention_int8_kv.h"
#include "t2v/kernels/launch_shape.h"
#include "t2v/kernels/quantise_heads.h"

using namespace t2v::kernels;

namespace {

constexpr DType kNarrow[] = {DType::kBFloat16, DType::kFloat16};

// Bytes with 64-byte alignment.
class HostBytes {
 public:
  explicit HostBytes(std::int64_t count) : storage_(static_cast<std::size_t>(count / 64 + 2)) {}
  std::int8_t* data() { return storage_.front().at; }
  [[nodiscard]] double get(std::int64_t i) const {
    return storage_[static_cast<std::size_t>(i / 64)].at[i % 64];
  }

 private:
  struct alignas(64) Line {
    std::int8_t at[64] = {};
  };
  std::vector<Line> storage_;
};

// q and k of an attention as int8 and back: what the kernel sees, as numbers for the truth.
struct Int8Operands {
  HostBytes q, k;
  std::vector<float> mean, partial, q_scale, k_scale;

  explicit Int8Operands(HostAttention& a)
      : q(a.shape.heads * a.shape.queries * a.shape.head_size),
        k(a.shape.heads * a.shape.keys * a.shape.head_size) {
    const AttentionCase& c = a.shape;
    const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    mean.resize(size(c.heads * c.head_size + 4));
    partial.resize(size(c.heads * divide_up(c.keys, kMeanRows) * c.head_size));
    q_scale.resize(size(c.heads * divide_up(c.queries, kInt8QueryGroup)));
    k_scale.resize(size(c.heads * divide_up(c.keys, kInt8KeyGroup)));
    const FlashAttentionArgs args = a.args();
    QuantiseHeadsArgs queries;
    queries.rows = {args.q, args.q_head_stride, args.q_row_stride, c.heads, c.queries, c.head_size,
                    c.dtype};
    queries.out = q.data();
    queries.scale = q_scale.data();
    queries.group_rows = kInt8QueryGroup;
    queries.factor = args.scale * 1.44269504F;
    REQUIRE(quantise_heads(queries, nullptr) == cudaSuccess);
    QuantiseHeadsArgs keys;
    keys.rows = {args.k, args.k_head_stride, args.k_row_stride, c.heads, c.keys, c.head_size,
                 c.dtype};
    REQUIRE(key_means({keys.rows, partial.data(), mean_start()}, nullptr) == cudaSuccess);
    keys.mean = mean_start();
    keys.out = k.data();
    keys.scale = k_scale.data();
    keys.group_rows = kInt8KeyGroup;
    REQUIRE(quantise_heads(keys, nullptr) == cudaSuccess);
  }

  // Aligned to 16 bytes.
  float* mean_start() {
    float* p = mean.data();
    while (address_of(p) % 16 != 0) ++p;
    return p;
  }

  FlashAttentionInt8Args args(HostAttention& a) {
    FlashAttentionInt8Args result{a.args(), q_scale.data(), k_scale.data()};
    const AttentionCase& c = a.shape;
    result.attention.q = q.data();
    result.attention.k = k.data();
    result.attention.q_row_stride = result.attention.k_row_stride = c.head_size;
    result.attention.q_head_stride = c.queries * c.head_size;
    result.attention.k_head_stride = c.keys * c.head_size;
    return result;
  }
};

struct Agreement {
  double cosine = 0;
  double worst = 0;
  double worst_lse = 0;
};

// out and lse of `a` against softmax(score) * value in fp64.
Agreement compare(const HostAttention& a, std::int64_t keys, bool with_lse,
                  const std::function<double(std::int64_t, std::int64_t, std::int64_t)>& score,
                  const std::function<double(std::int64_t, std::int64_t, std::int64_t)>& value) {
  const AttentionCase& c = a.shape;
  Agreement result;
  double dot = 0, got = 0, want = 0;
  std::vector<double> weights(static_cast<std::size_t>(keys));
  for (std::int64_t n = 0; n < c.heads; ++n) {
    for (std::int64_t l = 0; l < c.queries; ++l) {
      double largest = -INFINITY, total = 0;
      for (std::int64_t s = 0; s < keys; ++s)
        largest = std::max(largest, weights[static_cast<std::size_t>(s)] = score(n, l, s));
      for (double& w : weights) total += w = std::exp(w - largest);
      for (std::int64_t d = 0; d < c.head_size; ++d) {
        double expected = 0;
        for (std::int64_t s = 0; s < keys; ++s)
          expected += weights[static_cast<std::size_t>(s)] / total * value(n, s, d);
        const double actual = a.out.get(l, n * c.head_size + d);
        dot += actual * expected;
        got += actual * actual;
        want += expected * expected;
        const double error = std::fabs(actual - expected) / (1 + std::fabs(expected));
        result.worst = std::isfinite(error) ? std::max(result.worst, error) : INFINITY;
      }
      if (with_lse)
        result.worst_lse =
            std::max(result.worst_lse, std::fabs(a.lse.get(n, l) - (largest + std::log(total))));
    }
  }
  result.cosine = dot / std::sqrt(got * want);
  return result;
}

// Normal numbers, and in every 16th channel a large offset that all keys share.
void add_outliers(HostAttention& a) {
  for (std::int64_t row = 0; row < a.k.rows(); ++row) {
    for (std::int64_t d = 0; d < a.k.columns(); d += 16)
      a.k.set(row, d, static_cast<float>(a.k.get(row, d)) + 12.0F);
  }
}

double unit(DType dtype) { return dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11; }

void check_int8(const AttentionCase& c, FlashVariant variant = FlashVariant::kAuto) {
  CAPTURE(c.heads, c.queries, c.keys, c.head_size, static_cast<int>(c.dtype),
          static_cast<int>(variant));
  HostAttention a(c);
  add_outliers(a);
  Int8Operands operands(a);
  FlashAttentionInt8Args args = operands.args(a);
  args.attention.variant = variant;
  args.attention.lse = a.lse.floats();
  REQUIRE(flash_attention_int8(args, nullptr) == cudaSuccess);
  const auto value = [&](std::int64_t n, std::int64_t s, std::int64_t d) {
    return a.v.get(n * c.keys + s, d);
  };
  const auto same_numbers = [&](std::int64_t n, std::int64_t l, std::int64_t s) {
    double sum = 0;
    for (std::int64_t d = 0; d < c.head_size; ++d)
      sum += operands.q.get((n * c.queries + l) * c.head_size + d) *
             operands.k.get((n * c.keys + s) * c.head_size + d);
    const auto q_group = static_cast<std::size_t>(n * divide_up(c.queries, 16) + l / 16);
    const auto k_group = static_cast<std::size_t>(n * divide_up(c.keys, 64) + s / 64);
    return sum * operands.q_scale[q_group] * operands.k_scale[k_group] * 0.6931471805599453;
  };
  const Agreement exact = compare(a, c.keys, true, same_numbers, value);
  CHECK(exact.worst <= 2 * unit(c.dtype));
  CHECK(exact.worst_lse <= 1e-4);
  CHECK(exact.cosine > 0.99999);
  const auto true_numbers = [&](std::int64_t n, std::int64_t l, std::int64_t s) {
    double sum = 0;
    for (std::int64_t d = 0; d < c.head_size; ++d)
      sum += a.q.get(n * c.queries + l, d) * a.k.get(n * c.keys + s, d);
    return sum * args.attention.scale;
  };
  // Scores of hundreds leave one key or two per query: then the wrong one of two may win.
  CHECK(compare(a, c.keys, false, true_numbers, value).cosine > (c.query_size > 1 ? 0.99 : 0.9995));
  CHECK(a.out.surroundings_intact());
}

// A cache: int8 with fp16 scales, rows apart as in a longer ring.
struct Int8Cache {
  std::int64_t ring, head_size, groups;
  HostBytes bytes;
  HostMatrix scales;

  Int8Cache(const HostMatrix& x, std::int64_t heads, std::int64_t keys, std::int64_t spare)
      : ring(keys + spare),
        head_size(x.columns()),
        groups(x.columns() / kKvScaleGroup),
        bytes(heads * ring * x.columns()),
        scales(DType::kFloat16, heads * ring, groups) {
    for (std::int64_t n = 0; n < heads; ++n) {
      for (std::int64_t s = 0; s < keys; ++s) {
        for (std::int64_t g = 0; g < groups; ++g) {
          double largest = 0;
          for (int i = 0; i < kKvScaleGroup; ++i)
            largest = std::max(largest, std::fabs(x.get(n * keys + s, g * kKvScaleGroup + i)));
          scales.set(n * ring + s, g, static_cast<float>(largest / 127));
          const double scale = scales.get(n * ring + s, g);
          for (int i = 0; i < kKvScaleGroup; ++i) {
            const std::int64_t d = g * kKvScaleGroup + i;
            const double level = scale == 0 ? 0 : std::round(x.get(n * keys + s, d) / scale);
            bytes.data()[(n * ring + s) * head_size + d] =
                static_cast<std::int8_t>(std::clamp(level, -127.0, 127.0));
          }
        }
      }
    }
  }
  [[nodiscard]] double get(std::int64_t n, std::int64_t s, std::int64_t d) const {
    return bytes.get((n * ring + s) * head_size + d) * scales.get(n * ring + s, d / kKvScaleGroup);
  }
};

FlashAttentionInt8KvArgs cache_args(HostAttention& a, Int8Cache& k, Int8Cache& v) {
  FlashAttentionInt8KvArgs args;
  args.attention = a.args();
  args.attention.k = k.bytes.data();
  args.attention.v = v.bytes.data();
  args.attention.k_row_stride = args.attention.v_row_stride = a.shape.head_size;
  args.attention.k_head_stride = k.ring * a.shape.head_size;
  args.attention.v_head_stride = v.ring * a.shape.head_size;
  args.k_scale = k.scales.data();
  args.v_scale = v.scales.data();
  args.k_scale_head_stride = k.ring * k.groups;
  args.v_scale_head_stride = v.ring * v.groups;
  return args;
}

void check_cache(const AttentionCase& c, std::int64_t spare) {
  CAPTURE(c.heads, c.queries, c.keys, c.head_size, static_cast<int>(c.dtype), spare);
  HostAttention a(c);
  Int8Cache k(a.k, c.heads, c.keys, spare);
  Int8Cache v(a.v, c.heads, c.keys, spare);
  FlashAttentionInt8KvArgs args = cache_args(a, k, v);
  args.attention.lse = a.lse.floats();
  REQUIRE(flash_attention_int8_kv(args, nullptr) == cudaSuccess);
  const auto score = [&](std::int64_t n, std::int64_t l, std::int64_t s) {
    double sum = 0;
    for (std::int64_t d = 0; d < c.head_size; ++d)
      sum += a.q.get(n * c.queries + l, d) * k.get(n, s, d);
    return sum * args.attention.scale;
  };
  const auto value = [&](std::int64_t n, std::int64_t s, std::int64_t d) { return v.get(n, s, d); };
  const Agreement found = compare(a, c.keys, true, score, value);
  // Expanded keys and values are rounded to 16 bits, then weights and output as ever.
  CHECK(found.worst <= 4 * unit(c.dtype));
  CHECK(found.worst_lse <= 4 * unit(c.dtype));
  CHECK(found.cosine > 0.9999);
  CHECK(a.out.surroundings_intact());
}

}  // namespace

TEST_CASE("flash_attention_int8 follows its definition: odd sizes, both types and head sizes") {
  for (const DType dtype : kNarrow) {
    for (const std::int64_t d : {64, 128}) {
      check_int8({.heads = 1, .queries = 1, .keys = 1, .head_size = d, .dtype = dtype});
      check_int8({.heads = 1, .queries = 127, .keys = 63, .head_size = d, .dtype = dtype});
      check_int8({.heads = 2, .queries = 17, .keys = 65, .head_size = d, .dtype = dtype});
      check_int8({.heads = 2, .queries = 129, .keys = 193, .head_size = d, .dtype = dtype});
    }
  }
}

TEST_CASE("flash_attention_int8: both variants give the same bits") {
  const AttentionCase c{.heads = 2, .queries = 150, .keys = 200};
  for (const auto variant : {FlashVariant::kFourWarpsTwoStages, FlashVariant::kEightWarpsTwoStages})
    check_int8(c, variant);
  HostAttention first(c);
  HostAttention second(c);
  Int8Operands operands(first);
  FlashAttentionInt8Args args = operands.args(first);
  args.attention.variant = FlashVariant::kFourWarpsTwoStages;
  REQUIRE(flash_attention_int8(args, nullptr) == cudaSuccess);
  args.attention.out = second.out.data();
  args.attention.variant = FlashVariant::kEightWarpsTwoStages;
  REQUIRE(flash_attention_int8(args, nullptr) == cudaSuccess);
  CHECK(first.same_output(second));
}

TEST_CASE("flash_attention_int8: constants, zeros, large scores; the largest whole sum is exact") {
  for (const float size : {0.0F, 50.0F})
    check_int8({.heads = 1, .queries = 33, .keys = 130, .query_size = size});
  // All 127: the whole sum is 128 * 127^2, and all keys weigh the same.
  HostAttention a({.heads = 1, .queries = 20, .keys = 70});
  std::vector<float> scale(4, 1e-6F);
  HostBytes all(128 * 128);
  std::fill_n(all.data(), 128 * 128, std::int8_t{127});
  FlashAttentionInt8Args args{a.args(), scale.data(), scale.data()};
  args.attention.q = args.attention.k = all.data();
  args.attention.q_row_stride = args.attention.k_row_stride = 128;
  args.attention.q_head_stride = args.attention.k_head_stride = 0;
  args.attention.lse = a.lse.floats();
  REQUIRE(flash_attention_int8(args, nullptr) == cudaSuccess);
  const auto score = [&](auto...) { return 128.0 * 127 * 127 * 1e-12 * 0.6931471805599453; };
  const auto value = [&](std::int64_t, std::int64_t s, std::int64_t d) { return a.v.get(s, d); };
  CHECK(compare(a, 70, true, score, value).worst <= 2 * unit(DType::kBFloat16));
}

TEST_CASE("flash_attention_int8 reads its tiles without bank conflicts") {
  const long before = t2v::host_cuda::num_bank_conflicts;
  check_int8({.heads = 1, .queries = 20, .keys = 70});
  check_int8({.heads = 1, .queries = 20, .keys = 70, .head_size = 64});
  check_cache({.heads = 1, .queries = 20, .keys = 70}, 0);
  CHECK(t2v::host_cuda::num_bank_conflicts == before);
}

TEST_CASE("quantise_heads: means, groups, rounding") {
  for (const DType dtype : kNarrow) {
    for (const std::int64_t d : {64, 128}) {
      const std::int64_t rows = 2 * kMeanRows + 77;
      HostAttention a({.heads = 2,
                       .queries = 37,
                       .keys = rows,
                       .head_size = d,
                       .dtype = dtype,
                       .extra_stride = 8});
      add_outliers(a);
      Int8Operands operands(a);
      double worst_mean = 0, worst = 0, largest = 0;
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t c = 0; c < d; ++c) {
          double sum = 0;
          for (std::int64_t r = 0; r < rows; ++r) sum += a.k.get(n * rows + r, c);
          const double mean = operands.mean_start()[n * d + c];
          worst_mean = std::max(worst_mean, std::fabs(mean - sum / static_cast<double>(rows)));
          for (std::int64_t r = 0; r < rows; ++r) {
            const double scale =
                operands.k_scale[static_cast<std::size_t>(n * divide_up(rows, 64) + r / 64)];
            const double level = operands.k.get((n * rows + r) * d + c);
            worst =
                std::max(worst, std::fabs(level * scale + mean - a.k.get(n * rows + r, c)) / scale);
            largest = std::max(largest, std::fabs(level));
          }
        }
      }
      CHECK(worst_mean < 1e-4);
      CHECK(worst <= 0.501);
      CHECK(largest == 127);
    }
  }
}

TEST_CASE("quantise_heads: zeros stay zeros, NaN and infinity reach the scale") {
  HostAttention a({.heads = 1, .queries = 48, .keys = 1});
  for (std::int64_t row = 0; row < 48; ++row) {
    for (std::int64_t d = 0; d < 128; ++d) a.q.set(row, d, 0.0F);
  }
  a.q.set(17, 5, NAN);
  a.q.set(40, 127, INFINITY);
  Int8Operands operands(a);
  CHECK(operands.q_scale[0] > 0.0F);
  CHECK(std::isnan(operands.q_scale[1]));
  CHECK(std::isinf(operands.q_scale[2]));
  for (std::int64_t i = 0; i < 16 * 128; ++i) REQUIRE(operands.q.get(i) == 0);
}

TEST_CASE("flash_attention_int8_kv follows its definition, also in prefixes of a ring") {
  for (const DType dtype : kNarrow) {
    for (const std::int64_t d : {64, 128}) {
      check_cache({.heads = 1, .queries = 1, .keys = 1, .head_size = d, .dtype = dtype}, 0);
      check_cache({.heads = 2, .queries = 130, .keys = 63, .head_size = d, .dtype = dtype}, 5);
      check_cache({.heads = 2, .queries = 33, .keys = 195, .head_size = d, .dtype = dtype}, 3);
    }
  }
}

TEST_CASE("flash_attention_int8_kv joins what lies in the output: the bits' worth of one softmax") {
  for (const DType dtype : kNarrow) {
    for (const std::int64_t d : {64, 128}) {
      const AttentionCase c{.heads = 2,
                            .queries = 140,
                            .keys = 90,
                            .head_size = d,
                            .dtype = dtype,
                            .extra_stride = 8};
      HostAttention plain(c);
      HostAttention cached(c, 50);
      Int8Cache k(cached.k, c.heads, c.keys, 0);
      Int8Cache v(cached.v, c.heads, c.keys, 0);
      FlashAttentionArgs first = plain.args();
      first.lse = plain.lse.floats();
      REQUIRE(flash_attention(first, nullptr) == cudaSuccess);
      FlashAttentionInt8KvArgs args = cache_args(plain, k, v);
      args.other_lse = plain.lse.floats();
      REQUIRE(flash_attention_int8_kv(args, nullptr) == cudaSuccess);
      const auto score = [&](std::int64_t n, std::int64_t l, std::int64_t s) {
        double sum = 0;
        for (std::int64_t i = 0; i < d; ++i)
          sum += plain.q.get(n * c.queries + l, i) *
                 (s < c.keys ? plain.k.get(n * c.keys + s, i) : k.get(n, s - c.keys, i));
        return sum * first.scale;
      };
      const auto value = [&](std::int64_t n, std::int64_t s, std::int64_t i) {
        return s < c.keys ? plain.v.get(n * c.keys + s, i) : v.get(n, s - c.keys, i);
      };
      const Agreement found = compare(plain, 2 * c.keys, false, score, value);
      CHECK(found.worst <= 4 * unit(dtype));
      CHECK(found.cosine > 0.9999);
      CHECK(plain.out.surroundings_intact());
    }
  }
}
