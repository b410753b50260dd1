#include "ops/kv_attention.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"
#include "ops/attention_choice.h"
#include "ops/attention_cpu.h"
#include "ops/attention_reference.h"
#include "ops/backend.h"
#include "ops/device.h"
#include "ops/op_timer.h"

namespace t2v::ops {
namespace {

constexpr int64_t kGroup = 64;
constexpr double kLargest = 127.0;
// Keys and values that are expanded at a time: a share of the second cache level and little memory,
// yet so many keys that merging the results costs a few per cent.
constexpr int64_t kTileBytes = int64_t{8} << 20;
constexpr int64_t kTileStep = 256;

// x [N, n, D] as [N, n, groups, channels of a group]
at::Tensor grouped(const at::Tensor& x) {
  const int64_t groups = kv_scale_groups(x.size(2));
  return x.unflatten(2, {groups, x.size(2) / groups});
}

// What has been attended to so far: softmax over some keys, and the log of their sum.
struct Merged {
  at::Tensor out;  // fp32 [L, N, D]; undefined: nothing yet
  at::Tensor lse;  // fp32 [N, L]

  void add(const at::Tensor& part, const at::Tensor& part_lse) {
    const at::Tensor rows = part.view({part_lse.size(1), part_lse.size(0), -1}).to(at::kFloat);
    if (!out.defined()) {
      out = rows;
      lse = part_lse;
      return;
    }
    const at::Tensor weight = at::sigmoid(part_lse - lse);  // of the new part
    out.lerp_(rows, weight.transpose(0, 1).unsqueeze(-1));
    lse = at::logaddexp(lse, part_lse);
  }
};

void add_part(Merged& merged, const AttentionInputs& in, AttentionBackend backend) {
  const at::Tensor lse = at::empty({in.q.size(0), in.q.size(1)}, in.q.options().dtype(at::kFloat));
  const at::Tensor out =
      in.q.is_cpu() ? cpu_attention(in, backend, lse) : reference::attention(in, {}, lse);
  merged.add(out, lse);
}

// Any device: the int8 keys a tile at a time.
at::Tensor tiled_attention(const AttentionInputs& in, const Int8KeyValues& window,
                           AttentionBackend backend) {
  Merged merged;
  if (in.k.size(1) > 0) add_part(merged, in, backend);
  const at::ScalarType dtype = in.q.scalar_type();
  const int64_t key_bytes =
      2 * window.k.size(0) * window.k.size(2) * static_cast<int64_t>(in.q.element_size());
  const int64_t tile = std::max(kTileStep, kTileBytes / key_bytes / kTileStep * kTileStep);
  for (int64_t first = 0; first < window.k.size(1); first += tile) {
    const int64_t count = std::min(tile, window.k.size(1) - first);
    const auto expand = [&](const at::Tensor& values, const at::Tensor& scale) {
      return expand_keys(values.narrow(1, first, count), scale.narrow(1, first, count), dtype);
    };
    add_part(merged,
             {in.q, expand(window.k, window.k_scale), expand(window.v, window.v_scale), {}, {}, {}},
             backend);
  }
  return merged.out.to(dtype).flatten(1);
}

void require_window(const at::Tensor& q, const Int8KeyValues& window) {
  const auto fits = [&](const at::Tensor& values, const at::Tensor& scale) {
    return values.scalar_type() == at::kChar && scale.scalar_type() == at::kHalf &&
           values.dim() == 3 && values.size(0) == q.size(0) && values.size(2) == q.size(2) &&
           values.device() == q.device() && scale.device() == q.device() &&
           scale.sizes() ==
               at::IntArrayRef({values.size(0), values.size(1), kv_scale_groups(values.size(2))});
  };
  T2V_ASSERT(fits(window.k, window.k_scale) && fits(window.v, window.v_scale) &&
             window.k.size(1) == window.v.size(1));
}

}  // namespace

int64_t kv_scale_groups(int64_t head_size) {
  int64_t channels = std::min(kGroup, head_size);
  while (head_size % channels != 0) --channels;
  return head_size / channels;
}

void quantise_keys(const at::Tensor& x, const at::Tensor& values, const at::Tensor& scale) {
  T2V_ASSERT(x.dim() == 3 && values.sizes() == x.sizes() && scale.dim() == 3 &&
             values.scalar_type() == at::kChar && scale.scalar_type() == at::kHalf &&
             scale.size(2) == kv_scale_groups(x.size(2)));
  const TimedOp timed("quantise_keys", x);
  const at::Tensor wide = grouped(x).to(at::kFloat);
  const at::Tensor stored = (wide.abs().amax(-1) / kLargest).to(at::kHalf);
  const at::Tensor divisor = stored.to(at::kFloat).unsqueeze(-1);
  const at::Tensor levels = at::where(divisor == 0, at::zeros({}, wide.options()), wide / divisor);
  values.copy_(levels.round().nan_to_num_(0.0).clamp_(-kLargest, kLargest).flatten(2));
  scale.copy_(stored);
}

at::Tensor expand_keys(const at::Tensor& values, const at::Tensor& scale, at::ScalarType dtype) {
  at::Tensor wide = grouped(values).to(at::kFloat);
  wide.mul_(scale.to(at::kFloat).unsqueeze(-1));
  return wide.to(dtype).flatten(2);
}

at::Tensor cached_attention(at::Tensor q, const at::Tensor& k16, const at::Tensor& v16,
                            const Int8KeyValues* window, AttentionBackend backend) {
  if (!window || window->k.size(1) == 0) return attention(std::move(q), k16, v16, {}, backend);
  T2V_ASSERT(q.dim() == 3 && q.stride(2) == 1 && k16.sizes() == v16.sizes() &&
             k16.size(0) == q.size(0) && k16.size(2) == q.size(2));
  require_window(q, *window);
  const TimedOp timed("self_attention", q, attention_flop(q, k16.size(1) + window->k.size(1)));
  if (backend == AttentionBackend::kOwnInt8)
    backend = q.is_cpu() ? AttentionBackend::kAuto : AttentionBackend::kOwn;
  const AttentionInputs in{std::move(q), k16, v16, {}, {}, {}};
  if (in.q.is_cpu()) return tiled_attention(in, *window, backend);
  const AttentionShape shape{device_facts(in.q.device()).capability, in.q.scalar_type(),
                             in.q.size(2), k16.size(1) + window->k.size(1)};
  const auto own = op_table(at::DeviceType::CUDA).cached_attention;
  const bool fused = own != nullptr && backend != AttentionBackend::kReference &&
                     can_run(CudaAttention::kOwn, shape);
  return fused ? own(in, *window) : tiled_attention(in, *window, backend);
}

}  // namespace t2v::ops
