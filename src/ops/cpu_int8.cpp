#include "ops/cpu_int8.h"

#include <ATen/Parallel.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "ops/int8_gemm.h"
#include "ops/int8_rows.h"
#include "ops/row_access.h"

namespace t2v::ops::cpu {
namespace {

constexpr int64_t kRowsPerTask = 8;
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kFewestPieceRows = 48;

// Pages of their own: weights that stay would tear holes into the heap between the temporaries of
// their making, and the holes would stay too.
at::Tensor own_pages(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  T2V_REQUIRE(memory != MAP_FAILED, ErrorKind::kOutOfMemory, "no host memory for a weight of ",
              bytes, " bytes; try --offload block");
  ::madvise(memory, size, MADV_HUGEPAGE);  // a wish
  return at::from_blob(
      memory, {bytes}, [size](void* pages) { ::munmap(pages, size); }, at::kByte);
}

QuantisedRows empty_rows(const at::Tensor& x) {
  return {.values = at::empty(x.sizes(), x.options().dtype(at::kChar)),
          .row_scale = at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
}

// y is changed.
void quantise_row(float* y, int64_t n, int64_t rotation, const QuantisedRows& to, int64_t row) {
  row::rotate_groups(y, n, rotation);
  const float scale = row::int8_scale(y, n);
  to.row_scale.mutable_data_ptr<float>()[row] = scale;
  row::quantise(y, scale, to.values.mutable_data_ptr<int8_t>() + row * n, n);
}

// LayerNorm with factor and offset, fp32 [n].
struct Affine {
  explicit Affine(const RowNorm& norm)
      : factor(norm.a.const_data_ptr<float>(), norm.a.const_data_ptr<float>() + norm.a.size(0)),
        offset(norm.b.const_data_ptr<float>()) {
    if (norm.kind == NormKind::kModulate)
      for (float& value : factor) value = 1.0F + value;
  }
  void apply(const float* x, double eps, float* y) const {
    const auto n = static_cast<int64_t>(factor.size());
    const auto mean = static_cast<float>(row::sum(x, n) / static_cast<double>(n));
    const double variance = row::sum_squared_distance(x, mean, n) / static_cast<double>(n);
    row::normalise_affine(x, mean, static_cast<float>(1.0 / std::sqrt(variance + eps)),
                          factor.data(), offset, y, n);
  }
  std::vector<float> factor;
  const float* offset;
};

// How the rows and panels of a product are shared out.
struct Pieces {
  Pieces(int64_t rows, int64_t columns) : num_rows(rows) {
    num_panels = (columns + gemm::kPanelColumns - 1) / gemm::kPanelColumns;
    const int64_t wanted = kTasksPerThread * at::get_num_threads();
    const int64_t even = (rows + wanted - 1) / wanted;
    piece_rows = std::clamp(even, std::min(kFewestPieceRows, rows), gemm::kPieceRows);
    // Whole tiles of 6 rows, so that few rows go through narrow ones.
    if (piece_rows < rows && piece_rows > 6) piece_rows -= piece_rows % 6;
    row_pieces = (rows + piece_rows - 1) / piece_rows;
    const int64_t groups =
        std::clamp<int64_t>((wanted + row_pieces - 1) / row_pieces, 1, num_panels);
    panels_per_task = (num_panels + groups - 1) / groups;
    panel_groups = (num_panels + panels_per_task - 1) / panels_per_task;
  }
  [[nodiscard]] int64_t count() const { return row_pieces * panel_groups; }

  int64_t num_rows, num_panels = 0, piece_rows = 0, row_pieces = 0;
  int64_t panels_per_task = 0, panel_groups = 0;
};

// fp32 or bf16 rows that a product is written or added to.
void multiply(const Int8Product& product, const at::Tensor& gate, bool add, const at::Tensor& out) {
  const Int8Weight& weight = product.weight;
  if (product.x.values.size(0) == 0) return;
  constexpr int64_t kQuad = 4;
  const int64_t tail = weight.in_features % kQuad;
  const at::Tensor x =
      tail == 0 ? product.x.values : at::constant_pad_nd(product.x.values, {0, kQuad - tail});
  const int64_t k = x.size(1);
  const int64_t n = weight.out_features;
  T2V_ASSERT(weight.values.numel() == gemm::packed_bytes(n, k));
  const auto* rows = x.const_data_ptr<int8_t>();
  const auto* packed = weight.values.const_data_ptr<uint8_t>();
  const auto* row_scale = product.x.row_scale.const_data_ptr<float>();
  const auto* column_scale = weight.row_scale.const_data_ptr<float>();
  const float* bias = product.bias.defined() ? product.bias.const_data_ptr<float>() : nullptr;
  const float* gates = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  auto* const target = static_cast<char*>(out.mutable_data_ptr());
  const int64_t element = out.element_size();
  const Pieces pieces(x.size(0), n);
  at::parallel_for(0, pieces.count(), 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> sums(static_cast<size_t>(pieces.piece_rows * gemm::kPanelColumns));
    std::vector<int32_t> row_sums(static_cast<size_t>(pieces.piece_rows));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first_row = task / pieces.panel_groups * pieces.piece_rows;
      const int64_t count = std::min(pieces.piece_rows, pieces.num_rows - first_row);
      for (int64_t r = 0; r < count; ++r)
        row_sums[static_cast<size_t>(r)] = row::sum_int8(rows + (first_row + r) * k, k);
      const int64_t panel = task % pieces.panel_groups * pieces.panels_per_task;
      for (int64_t p = panel; p < std::min(panel + pieces.panels_per_task, pieces.num_panels);
           ++p) {
        gemm::panel_sums({rows + first_row * k, count, k, row_sums.data()},
                         packed + p * gemm::kPanelColumns * k, sums.data());
        const int64_t column = p * gemm::kPanelColumns;
        const gemm::Epilogue epilogue{.column_scale = column_scale + column,
                                      .bias = bias ? bias + column : nullptr,
                                      .gate = gates ? gates + column : nullptr,
                                      .gelu = product.gelu,
                                      .add = add,
                                      .bf16 = out.scalar_type() == at::kBFloat16};
        for (int64_t r = 0; r < count; ++r)
          gemm::finish_row(epilogue, sums.data() + r * gemm::kPanelColumns,
                           row_scale[first_row + r], std::min(gemm::kPanelColumns, n - column),
                           target + ((first_row + r) * out.stride(0) + column) * element);
      }
    }
  });
}

}  // namespace

QuantisedRows quantise_rows(const at::Tensor& x, int64_t rotation) {
  if (!is_fast(x.scalar_type())) return reference_ops().quantise_rows(x, rotation);
  const int64_t n = x.size(1);
  QuantisedRows result = empty_rows(x);
  const RowAccess source(x);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(n));
    for (int64_t l = begin; l < end; ++l) {
      const float* row = source.read(l, 0, n, scratch.data());
      if (row != scratch.data()) std::copy_n(row, n, scratch.data());
      quantise_row(scratch.data(), n, rotation, result, l);
    }
  });
  return result;
}

QuantisedRows layer_norm_quantise(const at::Tensor& x, const RowNorm& norm, double eps,
                                  int64_t rotation) {
  if (!is_fast(x.scalar_type())) return reference_ops().layer_norm_quantise(x, norm, eps, rotation);
  const int64_t n = x.size(1);
  QuantisedRows result = empty_rows(x);
  const RowAccess source(x);
  const Affine affine(norm);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(2 * n));
    for (int64_t l = begin; l < end; ++l) {
      float* y = scratch.data() + n;
      affine.apply(source.read(l, 0, n, scratch.data()), eps, y);
      quantise_row(y, n, rotation, result, l);
    }
  });
  return result;
}

QuantisedRows gate_residual_norm_quantise_(at::Tensor& x, const at::Tensor& branch,
                                           const at::Tensor& gate, const RowNorm& norm, double eps,
                                           int64_t rotation) {
  if (!is_fast(branch.scalar_type()))
    return reference_ops().gate_residual_norm_quantise_(x, branch, gate, norm, eps, rotation);
  const int64_t n = x.size(1);
  QuantisedRows result = empty_rows(x);
  const RowAccess target(x);
  const RowAccess source(branch);
  const Affine affine(norm);
  const float* g = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(n));
    for (int64_t l = begin; l < end; ++l) {
      float* row = target.target(l, nullptr);
      const char* added = source.base + l * source.stride_bytes;
      if (source.bf16) {
        row::add_gated_bf16(row, reinterpret_cast<const uint16_t*>(added), g, n);
      } else {
        row::add_gated_fp32(row, reinterpret_cast<const float*>(added), g, n);
      }
      affine.apply(row, eps, scratch.data());
      quantise_row(scratch.data(), n, rotation, result, l);
    }
  });
  return result;
}

at::Tensor pack_int8(const at::Tensor& values) {
  const int64_t n = values.size(0);
  const int64_t k = values.size(1);
  at::Tensor packed = own_pages(std::max<int64_t>(1, gemm::packed_bytes(n, k)));
  const auto* from = values.const_data_ptr<int8_t>();
  auto* to = packed.mutable_data_ptr<uint8_t>();
  const int64_t panels = (n + gemm::kPanelColumns - 1) / gemm::kPanelColumns;
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) gemm::pack_panel(from, n, k, panel, to);
  });
  return packed;
}

at::Tensor int8_linear(const Int8Product& product) {
  const at::ScalarType type = is_fast(product.out) ? product.out : at::kFloat;
  const at::Tensor y = at::empty({product.x.values.size(0), product.weight.out_features},
                                 product.x.values.options().dtype(type));
  multiply(product, {}, /*add=*/false, y);
  return y.to(product.out);
}

void int8_linear_residual_(at::Tensor& x, const Int8Product& product, const at::Tensor& gate) {
  multiply(product, gate, /*add=*/true, x);
}

at::Tensor expand_int8(const Int8Weight& weight, int64_t rotation, at::ScalarType out) {
  if (!is_fast(out)) return reference_ops().expand_int8(weight, rotation, out);
  const int64_t n = weight.in_features;
  at::Tensor result = at::empty({weight.out_features, n}, weight.values.options().dtype(out));
  const RowAccess target(result);
  const auto* values = weight.values.const_data_ptr<int8_t>();
  const auto* scales = weight.row_scale.const_data_ptr<float>();
  at::parallel_for(0, weight.out_features, kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(n));
    for (int64_t row = begin; row < end; ++row) {
      float* y = target.target(row, scratch.data());
      row::expand_int8(values + row * n, scales[row], y, n);
      row::rotate_groups(y, n, rotation);
      target.write(row, y, n);
    }
  });
  return result;
}

}  // namespace t2v::ops::cpu
