#include "models/vae/encode_bytes.h"

#include <algorithm>

#include "models/vae/chunk_layout.h"

namespace t2v::models::vae {

int64_t encode_work_bytes(const VaeSpec& spec, const EncodeJob& job) {
  const auto element = static_cast<int64_t>(c10::elementSize(job.dtype));
  const int64_t frames = spec.temporal_factor(), mid = spec.encoder_mid_channels();
  ChunkLayout layout(frames, job.height / spec.patch_size, job.width / spec.patch_size, job.dtype,
                     job.device);
  layout.entry(spec.out_channels, spec.encoder_base_dim);
  for (const DownBlockSpec& block : spec.down_blocks())
    layout.down_block(block, spec.num_res_blocks, spec.is_residual);
  layout.resnet(mid, mid);
  layout.resnet(mid, mid);
  layout.causal_conv(mid, 2 * spec.z_dim);
  // Normed, q, k, v packed and apart, the result; on its way in a frame is fp32 and in the type,
  // twice where pixels are packed.
  const int64_t attention = 8 * layout.height() * layout.width() * mid * element;
  const int64_t entering = frames * 3 * job.height * job.width * (4 + 2 * element);
  return layout.elements() * element + attention + entering;
}

int64_t encoder_weight_bytes(const VaeSpec& spec, at::ScalarType dtype) {
  int64_t elements = 0;
  for (const auto& tensor : encoder_tensors(spec).tensors) {
    int64_t count = 1;
    for (const int64_t extent : tensor.shape) count *= extent;
    elements += count;
  }
  return elements * static_cast<int64_t>(c10::elementSize(dtype));
}

}  // namespace t2v::models::vae
