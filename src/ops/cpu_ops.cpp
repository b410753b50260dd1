// The fused ops on the CPU: each row is read once, worked on in the first cache level in fp32, and
// written once. fp32 and bf16; other types fall to the composed twin.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/cpu_int8.h"
#include "ops/cpu_video.h"
#include "ops/reference_video.h"
#include "ops/row_access.h"

namespace t2v::ops {
namespace {

constexpr int64_t kRowsPerTask = 8;

at::Tensor layer_norm_rows(const at::Tensor& x, const float* a, const float* b, double eps,
                           at::ScalarType out) {
  const int64_t n = x.size(1);
  at::Tensor result = at::empty({x.size(0), n}, x.options().dtype(out));
  const RowAccess source(x);
  const RowAccess target(result);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(2 * n));
    for (int64_t l = begin; l < end; ++l) {
      const float* row = source.read(l, 0, n, scratch.data());
      const auto mean = static_cast<float>(row::sum(row, n) / static_cast<double>(n));
      const double variance = row::sum_squared_distance(row, mean, n) / static_cast<double>(n);
      float* y = target.target(l, scratch.data() + n);
      row::normalise_affine(row, mean, static_cast<float>(1.0 / std::sqrt(variance + eps)), a, b, y,
                            n);
      target.write(l, y, n);
    }
  });
  return result;
}

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale,
                               const at::Tensor& shift, double eps, at::ScalarType out) {
  if (!is_fast(x.scalar_type()) || !is_fast(out))
    return reference_ops().layer_norm_modulate(x, scale, shift, eps, out);
  const auto* s = scale.const_data_ptr<float>();
  std::vector<float> factor(static_cast<size_t>(scale.size(0)));
  std::transform(s, s + scale.size(0), factor.begin(), [](float v) { return 1.0F + v; });
  return layer_norm_rows(x, factor.data(), shift.const_data_ptr<float>(), eps, out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  if (!is_fast(x.scalar_type()) || !is_fast(out))
    return reference_ops().layer_norm(x, weight, bias, eps, out);
  return layer_norm_rows(x, weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), eps, out);
}

float rms_factor(const float* row, int64_t n, double eps) {
  const double mean_square = row::sum_squared_distance(row, 0.0F, n) / static_cast<double>(n);
  return static_cast<float>(1.0 / std::sqrt(mean_square + eps));
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!is_fast(x.scalar_type())) return reference_ops().rms_norm(x, weight, eps);
  const int64_t n = x.size(1);
  at::Tensor result = at::empty({x.size(0), n}, x.options());
  const RowAccess source(x);
  const RowAccess target(result);
  const float* w = weight.const_data_ptr<float>();
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(2 * n));
    for (int64_t l = begin; l < end; ++l) {
      const float* row = source.read(l, 0, n, scratch.data());
      float* y = target.target(l, scratch.data() + n);
      row::scale_by(row, rms_factor(row, n, eps), w, y, n);
      target.write(l, y, n);
    }
  });
  return result;
}

// cos and signed sin of one token, one value per channel of a head: what rotate_pairs takes.
void token_angles(const RopeTables& rope, int64_t token, float* cos, float* sin) {
  const int64_t column = token % rope.width;
  const int64_t row = token / rope.width % rope.height;
  const int64_t frame = token / (rope.width * rope.height);
  int64_t channel = 0;
  const auto append = [&](const at::Tensor& c, const at::Tensor& s, int64_t position) {
    const int64_t pairs = c.size(1);
    const float* cs = c.const_data_ptr<float>() + position * pairs;
    const float* sn = s.const_data_ptr<float>() + position * pairs;
    for (int64_t j = 0; j < pairs; ++j, channel += 2) {
      cos[channel] = cos[channel + 1] = cs[j];
      sin[channel] = -sn[j];
      sin[channel + 1] = sn[j];
    }
  };
  append(rope.cos_frame, rope.sin_frame, frame);
  append(rope.cos_row, rope.sin_row, row);
  append(rope.cos_column, rope.sin_column, column);
}

// Scatters one row [N*D] to [N, L, D] at token l.
void write_heads(const float* row, const at::Tensor& heads, int64_t token) {
  const int64_t tokens = heads.size(1);
  const int64_t d = heads.size(2);
  const bool bf16 = heads.scalar_type() == at::kBFloat16;
  auto* base = static_cast<char*>(heads.mutable_data_ptr());
  for (int64_t h = 0; h < heads.size(0); ++h) {
    char* to = base + (h * tokens + token) * d * heads.element_size();
    if (bf16) {
      row::narrow_bf16(row + h * d, reinterpret_cast<uint16_t*>(to), d);
    } else {
      std::copy_n(row + h * d, d, reinterpret_cast<float*>(to));
    }
  }
}

void copy_heads(const char* row, const at::Tensor& heads, int64_t token) {
  const int64_t bytes = heads.size(2) * heads.element_size();
  auto* base = static_cast<char*>(heads.mutable_data_ptr());
  for (int64_t h = 0; h < heads.size(0); ++h)
    std::copy_n(row + h * bytes, bytes, base + (h * heads.size(1) + token) * bytes);
}

void qk_norm_rope(const QkNormRope& in, const QkvHeads& out) {
  if (!is_fast(in.qkv.scalar_type())) return reference_ops().qk_norm_rope(in, out);
  const int64_t n = in.qkv.size(1) / 3;
  const int64_t num_heads = out.q.size(0);
  const int64_t d = out.q.size(2);
  const RowAccess source(in.qkv);
  const std::pair<const float*, const at::Tensor*> parts[] = {
      {in.norm_q.const_data_ptr<float>(), &out.q}, {in.norm_k.const_data_ptr<float>(), &out.k}};
  at::parallel_for(0, in.qkv.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(3 * n + 2 * d));
    float* normed = scratch.data() + n;
    float* turned = scratch.data() + 2 * n;
    float* cos = scratch.data() + 3 * n;
    float* sin = cos + d;
    for (int64_t l = begin; l < end; ++l) {
      const int64_t token = in.first_token + l;
      token_angles(*in.rope, token, cos, sin);
      for (int64_t p = 0; p < 2; ++p) {
        const float* row = source.read(l, p * n, n, scratch.data());
        row::scale_by(row, rms_factor(row, n, in.eps), parts[p].first, normed, n);
        for (int64_t h = 0; h < num_heads; ++h)
          row::rotate_pairs(normed + h * d, cos, sin, turned + h * d, d);
        write_heads(turned, *parts[p].second, token);
      }
      copy_heads(source.base + l * source.stride_bytes + 2 * n * in.qkv.element_size(), out.v,
                 token);
    }
  });
}

void gate_residual_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate) {
  if (!is_fast(branch.scalar_type())) return reference_ops().gate_residual_(x, branch, gate);
  const int64_t n = x.size(1);
  const RowAccess target(x);
  const RowAccess source(branch);
  const float* g = gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t l = begin; l < end; ++l) {
      const char* row = source.base + l * source.stride_bytes;
      if (source.bf16) {
        row::add_gated_bf16(target.target(l, nullptr), reinterpret_cast<const uint16_t*>(row), g,
                            n);
      } else {
        row::add_gated_fp32(target.target(l, nullptr), reinterpret_cast<const float*>(row), g, n);
      }
    }
  });
}

at::Tensor gate_residual_norm_(at::Tensor& x, const at::Tensor& branch, const at::Tensor& gate,
                               const RowNorm& norm, double eps, at::ScalarType out) {
  gate_residual_(x, branch, gate);
  return norm.kind == NormKind::kModulate ? layer_norm_modulate(x, norm.a, norm.b, eps, out)
                                          : layer_norm(x, norm.a, norm.b, eps, out);
}

}  // namespace

const OpTable& cpu_ops() {
  static constexpr OpTable kTable{
      .name = "cpu",
      .layer_norm_modulate = layer_norm_modulate,
      .layer_norm = layer_norm,
      .rms_norm = rms_norm,
      .qk_norm_rope = qk_norm_rope,
      .gate_residual_ = gate_residual_,
      .gate_residual_norm_ = gate_residual_norm_,
      .layer_norm_quantise = cpu::layer_norm_quantise,
      .vae_norm = cpu::vae_norm,
      .add_bias_residual = reference::add_bias_residual,
      .frames_to_rgb8 = reference::frames_to_rgb8,
      .solver_step = reference::solver_step,
      .quantise_rows = cpu::quantise_rows,
      .gate_residual_norm_quantise_ = cpu::gate_residual_norm_quantise_,
      .pack_int8 = cpu::pack_int8,
      .int8_linear = cpu::int8_linear,
      .int8_linear_residual_ = cpu::int8_linear_residual_,
      .expand_int8 = cpu::expand_int8,
  };
  return kTable;
}

}  // namespace t2v::ops
