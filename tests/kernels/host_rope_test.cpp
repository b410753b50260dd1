// qk_norm_rope's own source, run on the host (host_cuda/), against its definition in fp64.
#include <catch2/catch.hpp>

#include "host_matrix.h"
#include "t2v/kernels/qk_norm_rope.h"

using namespace t2v::kernels;

namespace {

constexpr double kEps = 1e-6;

struct Axis {
  Axis(std::int64_t positions, std::int64_t num_pairs, unsigned seed)
      : pairs(num_pairs),
        cos(DType::kFloat32, positions, num_pairs),
        sin(DType::kFloat32, positions, num_pairs) {
    // Any numbers do: the kernel does not know that they are cosines.
    cos.fill_normal(seed);
    sin.fill_normal(seed + 1);
  }
  RopeAxisTable table() {
    if (pairs == 0) return {};
    return {cos.floats(), sin.floats()};
  }
  std::int64_t pairs;
  HostMatrix cos;
  HostMatrix sin;
};

struct Case {
  std::int64_t frames, height, width, num_heads, head_size, extra_stride, offset;
};

class Problem {
 public:
  Problem(const Case& c, DType dtype)
      : c_(c),
        columns_(c.num_heads * c.head_size),
        tokens_(c.frames * c.height * c.width),
        qkv_(dtype, tokens_, 3 * columns_, c.extra_stride, c.offset),
        q_(dtype, c.num_heads * tokens_, c.head_size, 0, c.offset),
        k_(dtype, c.num_heads * tokens_, c.head_size),
        v_(dtype, c.num_heads * tokens_, c.head_size),
        norm_q_(DType::kFloat32, 1, columns_),
        norm_k_(DType::kFloat32, 1, columns_),
        frame_(c.frames, c.head_size / 2 - 2 * (c.head_size / 6), 21),
        row_(c.height, c.head_size / 6, 31),
        column_(c.width, c.head_size / 6, 41) {
    qkv_.fill_normal(51);
    norm_q_.fill_normal(52, 1.0F);
    norm_k_.fill_normal(53, 1.0F);
  }

  QkNormRopeArgs args() {
    QkNormRopeArgs args;
    args.qkv = qkv_.data();
    args.q = q_.data();
    args.k = k_.data();
    args.v = v_.data();
    args.norm_q = norm_q_.floats();
    args.norm_k = norm_k_.floats();
    args.frame_table = frame_.table();
    args.row_table = row_.table();
    args.column_table = column_.table();
    args.frames = c_.frames;
    args.height = c_.height;
    args.width = c_.width;
    args.num_heads = c_.num_heads;
    args.head_size = c_.head_size;
    args.rows = tokens_;
    args.qkv_row_stride = qkv_.stride();
    args.eps = static_cast<float>(kEps);
    args.dtype = qkv_.dtype();
    return args;
  }

  void check() const {
    CHECK(wrong_rotated(q_, norm_q_, 0) == 0);
    CHECK(wrong_rotated(k_, norm_k_, 1) == 0);
    std::int64_t wrong = 0;
    for (std::int64_t l = 0; l < tokens_; ++l) {
      for (std::int64_t c = 0; c < columns_; ++c) {
        const std::int64_t head = c / c_.head_size;
        wrong += v_.get(head * tokens_ + l, c % c_.head_size) != qkv_.get(l, 2 * columns_ + c);
      }
    }
    CHECK(wrong == 0);
    CHECK(q_.surroundings_intact());
  }

  // Tokens of which all of q, k and v have been written (the others are poisoned).
  [[nodiscard]] std::int64_t written_tokens() const {
    std::int64_t written = 0;
    for (std::int64_t l = 0; l < tokens_; ++l) {
      bool all = true;
      for (std::int64_t h = 0; h < c_.num_heads; ++h) {
        for (const HostMatrix* part : {&q_, &k_, &v_})
          all = all && !std::isnan(part->get(h * tokens_ + l, 0));
      }
      written += all;
    }
    return written;
  }

 private:
  // Cosine and sine of pair j, by walking the concatenation of the three tables.
  [[nodiscard]] std::pair<double, double> rotation(std::int64_t f, std::int64_t h, std::int64_t w,
                                                   std::int64_t j) const {
    if (j < frame_.pairs) return {frame_.cos.get(f, j), frame_.sin.get(f, j)};
    j -= frame_.pairs;
    if (j < row_.pairs) return {row_.cos.get(h, j), row_.sin.get(h, j)};
    j -= row_.pairs;
    return {column_.cos.get(w, j), column_.sin.get(w, j)};
  }

  [[nodiscard]] std::int64_t wrong_rotated(const HostMatrix& out, const HostMatrix& norm,
                                           std::int64_t part) const {
    std::int64_t wrong = 0;
    std::int64_t l = 0;
    for (std::int64_t f = 0; f < c_.frames; ++f) {
      for (std::int64_t h = 0; h < c_.height; ++h) {
        for (std::int64_t w = 0; w < c_.width; ++w, ++l) {
          double squares = 0;
          for (std::int64_t c = 0; c < columns_; ++c) {
            squares += std::pow(qkv_.get(l, part * columns_ + c), 2);
          }
          const double factor = 1 / std::sqrt(squares / static_cast<double>(columns_) + kEps);
          const auto normal = [&](std::int64_t c) {
            return qkv_.get(l, part * columns_ + c) * factor * norm.get(0, c);
          };
          for (std::int64_t c = 0; c < columns_; c += 2) {
            const std::int64_t head = c / c_.head_size;
            const std::int64_t d = c % c_.head_size;
            const auto [cos, sin] = rotation(f, h, w, d / 2);
            const double x0 = normal(c);
            const double x1 = normal(c + 1);
            const std::int64_t at = head * tokens_ + l;
            // Cancellation: the scale of the error is that of the terms.
            const double slack =
                4e-6 * (std::fabs(x0) + std::fabs(x1)) * (std::fabs(cos) + std::fabs(sin));
            wrong += !near(out, at, d, x0 * cos - x1 * sin, slack);
            wrong += !near(out, at, d + 1, x0 * sin + x1 * cos, slack);
          }
        }
      }
    }
    return wrong;
  }

  static bool near(const HostMatrix& out, std::int64_t row, std::int64_t column, double expected,
                   double slack) {
    const double actual = out.get(row, column);
    return close(actual, expected, out.dtype()) || std::fabs(actual - expected) <= slack;
  }

  Case c_;
  std::int64_t columns_;
  std::int64_t tokens_;
  HostMatrix qkv_, q_, k_, v_, norm_q_, norm_k_;
  Axis frame_, row_, column_;
};

}  // namespace

TEST_CASE("qk_norm_rope follows its definition for all types, head sizes and alignments") {
  const Case cases[] = {
      {1, 1, 1, 1, 2, 0, 0},    {2, 2, 3, 3, 4, 0, 0},    {3, 2, 1, 2, 6, 2, 0},
      {2, 3, 2, 5, 10, 1, 1},   {2, 2, 2, 4, 16, 0, 0},   {2, 2, 2, 4, 16, 8, 8},
      {1, 2, 2, 4, 16, 3, 0},   {2, 1, 3, 12, 64, 0, 0},  {3, 2, 2, 12, 128, 0, 0},
      {1, 2, 2, 40, 128, 0, 0}, {1, 1, 2, 16, 1024, 0, 0}};
  for (const Case& c : cases) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
      CAPTURE(c.frames, c.height, c.width, c.num_heads, c.head_size, c.extra_stride, c.offset,
              static_cast<int>(dtype));
      Problem problem(c, dtype);
      REQUIRE(qk_norm_rope(problem.args(), nullptr) == cudaSuccess);
      problem.check();
    }
  }
}

TEST_CASE("qk_norm_rope takes a sequence in pieces") {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Problem problem({3, 2, 3, 2, 16, 8, 0}, dtype);
    const QkNormRopeArgs whole = problem.args();
    for (const std::int64_t first : {7, 0, 11}) {  // in any order: 4, 7 and 7 tokens
      QkNormRopeArgs piece = whole;
      piece.first_token = first;
      piece.rows = first == 7 ? 4 : 7;
      piece.qkv =
          static_cast<const char*>(whole.qkv) + first * whole.qkv_row_stride * element_bytes(dtype);
      REQUIRE(qk_norm_rope(piece, nullptr) == cudaSuccess);
      if (first == 7) CHECK(problem.written_tokens() == 4);
    }
    problem.check();
  }
}

TEST_CASE("qk_norm_rope refuses what its contract excludes, before any launch") {
  Problem problem({2, 2, 2, 3, 8, 0, 0}, DType::kFloat32);
  const auto status_with = [&](const auto& change) {
    QkNormRopeArgs args = problem.args();
    change(args);
    return qk_norm_rope(args, nullptr);
  };
  using Args = QkNormRopeArgs;
  const auto refused = cudaErrorInvalidValue;
  CHECK(status_with([](Args& a) { a.qkv = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.q = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.k = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.v = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.norm_q = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.norm_k = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.frame_table.sin = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.row_table.cos = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.column_table.cos = nullptr; }) == refused);
  CHECK(status_with([](Args& a) { a.head_size = 7; }) == refused);
  CHECK(status_with([](Args& a) { a.head_size = 0; }) == refused);
  CHECK(status_with([](Args& a) { a.head_size = 1026; }) == refused);
  CHECK(status_with([](Args& a) { a.num_heads = 0; }) == refused);
  CHECK(status_with([](Args& a) { a.num_heads = 2049; }) == refused);
  CHECK(status_with([](Args& a) { a.qkv_row_stride = 71; }) == refused);
  CHECK(status_with([](Args& a) { a.frames = -1; }) == refused);
  CHECK(status_with([](Args& a) { a.height = std::int64_t{1} << 40; }) == refused);
  CHECK(status_with([](Args& a) { a.frames = a.height = a.width = 2147483647; }) == refused);
  CHECK(status_with([](Args& a) {
          a.frames = 715827883;
          a.height = a.width = 1;
        }) == refused);
  CHECK(status_with([](Args& a) { a.dtype = static_cast<DType>(9); }) == refused);
  CHECK(status_with([](Args& a) { a.q = static_cast<char*>(a.q) + 2; }) ==
        cudaErrorMisalignedAddress);
  CHECK(status_with([](Args& a) { a.rows = 9; }) == refused);
  CHECK(status_with([](Args& a) { a.rows = -1; }) == refused);
  CHECK(status_with([](Args& a) { a.first_token = 1; }) == refused);
  CHECK(status_with([](Args& a) { a.first_token = -1; }) == refused);
  CHECK(status_with([](Args& a) { a.frames = 0; }) == refused);
  CHECK(status_with([](Args& a) { a.frames = a.rows = 0; }) == cudaSuccess);
}
