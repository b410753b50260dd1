// int8_linear's own source, run on the host (host_cuda/), against sums in int64 and an epilogue in
// fp64.
#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <set>

#include "host_cuda/host_cuda.h"
#include "host_matrix.h"
#include "t2v/kernels/int8_linear.h"
#include "t2v/kernels/linear_tiles.h"

using namespace t2v::kernels;

namespace {

// Rows aligned to 16 bytes. What lies between them is poison that would show; behind the last value
// begins memory that may not be read.
class ByteMatrix {
 public:
  ByteMatrix(std::int64_t rows, std::int64_t columns, unsigned seed) : stride_(columns + 16) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const auto used = static_cast<std::size_t>(rows * stride_ - 16);
    const std::size_t readable = (used + page - 1) / page * page;
    size_ = readable + page;
    start_ = static_cast<std::int8_t*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(static_cast<void*>(start_) != MAP_FAILED);
    REQUIRE(mprotect(start_ + readable, page, PROT_NONE) == 0);
    data_ = start_ + readable - used;
    std::mt19937 engine(seed);
    std::uniform_int_distribution<int> level(-127, 127);
    for (std::int64_t i = 0; i < rows * stride_ - 16; ++i)
      data_[i] = static_cast<std::int8_t>(i % stride_ < columns ? level(engine) : 101);
  }
  ~ByteMatrix() { munmap(start_, size_); }
  ByteMatrix(const ByteMatrix&) = delete;
  ByteMatrix& operator=(const ByteMatrix&) = delete;
  std::int8_t* data() { return data_; }
  [[nodiscard]] std::int64_t stride() const { return stride_; }
  std::int8_t* row(std::int64_t i) { return data_ + i * stride_; }

 private:
  std::int64_t stride_;
  std::size_t size_ = 0;
  std::int8_t* start_ = nullptr;
  std::int8_t* data_ = nullptr;
};

struct Problem {
  Problem(std::int64_t rows, std::int64_t columns, std::int64_t depth, DType dtype)
      : x(rows, depth, 1),
        weight(columns, depth, 2),
        x_scale(DType::kFloat32, 1, rows),
        weight_scale(DType::kFloat32, 1, columns),
        bias(DType::kFloat32, 1, columns),
        gate(DType::kFloat32, 1, columns),
        out(dtype, rows, columns, 8),
        rows_(rows),
        columns_(columns),
        depth_(depth) {
    x_scale.fill_normal(3, 0.01F, 0.002F);
    weight_scale.fill_normal(4, 0.01F, 0.002F);
    bias.fill_normal(5);
    gate.fill_normal(6);
  }
  Int8LinearArgs args(Int8Epilogue epilogue = Int8Epilogue::kStore) {
    Int8LinearArgs a;
    a.x = x.data();
    a.weight = weight.data();
    a.x_scale = x_scale.floats();
    a.weight_scale = weight_scale.floats();
    a.bias = bias.floats();
    a.gate = epilogue == Int8Epilogue::kResidual ? gate.floats() : nullptr;
    a.out = out.data();
    a.rows = rows_;
    a.columns = columns_;
    a.depth = depth_;
    a.x_row_stride = x.stride();
    a.weight_row_stride = weight.stride();
    a.out_row_stride = out.stride();
    a.out_dtype = out.dtype();
    a.epilogue = epilogue;
    return a;
  }
  std::int64_t sum(std::int64_t m, std::int64_t n) {
    std::int64_t total = 0;
    for (std::int64_t k = 0; k < depth_; ++k) total += x.row(m)[k] * weight.row(n)[k];
    return total;
  }
  // y of one place, in fp64.
  double value(std::int64_t m, std::int64_t n, bool with_bias = true) {
    return static_cast<double>(sum(m, n)) * x_scale.get(0, m) * weight_scale.get(0, n) +
           (with_bias ? bias.get(0, n) : 0.0);
  }
  template <typename Expected>
  void check(const Expected& expected) {
    std::int64_t wrong = 0;
    for (std::int64_t m = 0; m < rows_; ++m) {
      for (std::int64_t n = 0; n < columns_; ++n)
        wrong += !close(out.get(m, n), expected(m, n), out.dtype());
    }
    CHECK(wrong == 0);
    CHECK(out.surroundings_intact());
  }
  ByteMatrix x, weight;
  HostMatrix x_scale, weight_scale, bias, gate, out;

 private:
  std::int64_t rows_, columns_, depth_;
};

double gelu64(double x) {
  return 0.5 * x *
         (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

// Scales of 1, no bias, fp32: the sums themselves, exact below 2^24.
void use_bare_sums(Problem& p, Int8LinearArgs& args) {
  for (std::int64_t m = 0; m < args.rows; ++m) p.x_scale.set(0, m, 1.0F);
  for (std::int64_t n = 0; n < args.columns; ++n) p.weight_scale.set(0, n, 1.0F);
  args.bias = nullptr;
}

void fill(ByteMatrix& matrix, std::int64_t rows, std::int64_t columns, int value) {
  for (std::int64_t r = 0; r < rows; ++r)
    std::fill_n(matrix.row(r), columns, static_cast<std::int8_t>(value));
}

}  // namespace

TEST_CASE("each tile of a product belongs to one block, a few rows of tiles at a time") {
  for (const int tile_rows : {1, 3, kTileRows, kTileRows + 1, 5 * kTileRows - 2}) {
    for (const int tile_columns : {1, 2, 7, 20}) {
      std::set<std::pair<int, int>> seen;
      for (int block = 0; block < tile_rows * tile_columns; ++block) {
        const TileAt at = place_of_tile(block, tile_rows, tile_columns);
        REQUIRE((at.row >= 0 && at.row < tile_rows && at.column >= 0 && at.column < tile_columns));
        REQUIRE(at.row / kTileRows == block / (kTileRows * tile_columns));
        REQUIRE(seen.insert({at.row, at.column}).second);
      }
    }
  }
  const TileAt last = place_of_tile(2147483646, 2147483647, 1);
  CHECK((last.row == 2147483646 && last.column == 0));
}

TEST_CASE("chunks of 64-byte rows have places of their own, eight rows in different banks") {
  std::set<int> seen;
  for (int row = 0; row < 32; ++row) {
    for (int chunk = 0; chunk < 4; ++chunk) {
      const int offset = half_line_offset(row, chunk);
      REQUIRE((offset % 16 == 0 && offset / 64 == row && seen.insert(offset).second));
    }
  }
  for (int first = 0; first < 32; first += 8) {
    for (int chunk = 0; chunk < 4; ++chunk) {
      std::set<int> banks;
      for (int row = first; row < first + 8; ++row)
        banks.insert(half_line_offset(row, chunk) % 128);
      REQUIRE(banks.size() == 8);
    }
  }
}

TEST_CASE("sums of int8_linear are exact for odd sizes") {
  struct Size {
    std::int64_t rows, columns, depth;
  };
  const long conflicts = t2v::host_cuda::num_bank_conflicts;
  for (const Size& size :
       {Size{1, 8, 16}, Size{17, 24, 48}, Size{129, 136, 272}, Size{64, 264, 256}, Size{3, 520, 64},
        Size{257, 8, 80}, Size{128, 256, 128}, Size{2, 72, 320}}) {
    CAPTURE(size.rows, size.columns, size.depth);
    Problem p(size.rows, size.columns, size.depth, DType::kFloat32);
    Int8LinearArgs args = p.args();
    use_bare_sums(p, args);
    REQUIRE(int8_linear(args, nullptr) == cudaSuccess);
    std::int64_t wrong = 0;
    for (std::int64_t m = 0; m < size.rows; ++m) {
      for (std::int64_t n = 0; n < size.columns; ++n)
        wrong += p.out.get(m, n) != static_cast<double>(p.sum(m, n));
    }
    CHECK(wrong == 0);
    CHECK(p.out.surroundings_intact());
  }
  CHECK(t2v::host_cuda::num_bank_conflicts == conflicts);
}

TEST_CASE("the longest sums of extreme values do not overflow") {
  constexpr std::int64_t kDepth = 14336;
  constexpr int kValues[] = {127, -128, -127};
  Problem p(3, 8, kDepth, DType::kFloat32);
  for (std::int64_t m = 0; m < 3; ++m)
    std::fill_n(p.x.row(m), kDepth, static_cast<std::int8_t>(kValues[m]));
  for (std::int64_t n = 0; n < 8; ++n)
    std::fill_n(p.weight.row(n), kDepth, static_cast<std::int8_t>(kValues[n % 3]));
  Int8LinearArgs args = p.args();
  use_bare_sums(p, args);
  REQUIRE(int8_linear(args, nullptr) == cudaSuccess);
  for (std::int64_t m = 0; m < 3; ++m) {
    for (std::int64_t n = 0; n < 8; ++n)
      CHECK(p.out.get(m, n) == static_cast<float>(kDepth * kValues[m] * kValues[n % 3]));
  }
}

TEST_CASE("scales, bias and GELU of int8_linear, one rounding to each type") {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    CAPTURE(static_cast<int>(dtype));
    Problem p(150, 264, 80, dtype);
    REQUIRE(int8_linear(p.args(), nullptr) == cudaSuccess);
    p.check([&](std::int64_t m, std::int64_t n) { return p.value(m, n); });
    Int8LinearArgs args = p.args();
    args.bias = nullptr;
    REQUIRE(int8_linear(args, nullptr) == cudaSuccess);
    p.check([&](std::int64_t m, std::int64_t n) { return p.value(m, n, false); });
    REQUIRE(int8_linear(p.args(Int8Epilogue::kGelu), nullptr) == cudaSuccess);
    p.check([&](std::int64_t m, std::int64_t n) { return gelu64(p.value(m, n)); });
  }
}

TEST_CASE("GELU of int8_linear far from 0") {
  Problem p(1, 8, 16, DType::kFloat32);
  fill(p.x, 1, 16, 0);
  const float values[8] = {-1e30F, -100.0F, -12.0F, -5.0F, -0.0F, 5.0F, 100.0F, 1e10F};
  for (std::int64_t n = 0; n < 8; ++n) p.bias.set(0, n, values[n]);
  REQUIRE(int8_linear(p.args(Int8Epilogue::kGelu), nullptr) == cudaSuccess);
  for (std::int64_t n = 0; n < 8; ++n)
    CHECK(p.out.get(0, n) == Approx(values[n] < -20 ? 0.0 : gelu64(values[n])).margin(2e-6));
}

TEST_CASE("int8_linear adds to the residual stream, gated or not") {
  Problem p(131, 264, 96, DType::kFloat32);
  p.out.fill_normal(9);
  const HostMatrix before = p.out;
  Int8LinearArgs args = p.args(Int8Epilogue::kResidual);
  REQUIRE(int8_linear(args, nullptr) == cudaSuccess);
  p.check([&](std::int64_t m, std::int64_t n) {
    return before.get(m, n) + p.gate.get(0, n) * p.value(m, n);
  });
  p.out = before;
  args.gate = nullptr;
  args.bias = nullptr;
  REQUIRE(int8_linear(args, nullptr) == cudaSuccess);
  p.check([&](std::int64_t m, std::int64_t n) { return before.get(m, n) + p.value(m, n, false); });
}

TEST_CASE("rows of zeros give the bias") {
  Problem p(5, 16, 32, DType::kBFloat16);
  fill(p.x, 5, 32, 0);
  REQUIRE(int8_linear(p.args(), nullptr) == cudaSuccess);
  p.check([&](std::int64_t /*m*/, std::int64_t n) { return p.bias.get(0, n); });
}
