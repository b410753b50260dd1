// The memory plan of a run: which weights stay where, and how much every stage takes at its peak.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/vae/decode_bytes.h"
#include "models/vae/encode_bytes.h"
#include "models/wan/block_pool.h"
#include "pipeline/geometry.h"
#include "pipeline/model.h"
#include "pipeline/run.h"
#include "t2v/engine.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// Bytes of one transformer (both experts have the same).
struct TransformerBytes {
  int64_t num_blocks = 0;
  int64_t block_stored = 0;  // the largest block, in the file
  int64_t block_ready = 0;   // ready to run, on average: protected blocks are larger
  int64_t slot_ready = 0;    // the largest, ready to run
  int64_t block_cached = 0;  // as it lies in host memory between passes: as stored, or quantised
  int64_t build_scratch =
      0;                    // beside a block while its layers are quantised, or expanded in a call
  int64_t key_weights = 0;  // the part of block_ready that only a prompt's first pass needs
  int64_t prologue = 0;     // time and text embedding, ready
  int64_t rest = 0;         // patch embedding and head, ready
  int64_t loras = 0;        // factors, resident
};

// Embeddings of videos that wait, in host memory: a pass over the text encoder's weights (11 GB of
// UMT5-XXL) serves some two hundred prompts of it. Beside the denoising, so many blocks are read
// ahead.
constexpr int64_t kHeldTextBytes = int64_t{64} << 20;
constexpr int64_t kTextBuffersAlong = 2;

// What is planned for; sizes only, so that plans can be made for models that are not there.
struct PlanInput {
  TransformerBytes transformer;
  int64_t num_experts = 1;
  int64_t text_block_stored = 0;
  int64_t text_block_ready = 0;
  int64_t vae_ready = 0;  // the decoder's weights, ready to run
  models::vae::VaeSpec vae;
  models::vae::DecodeJob decode;
  std::optional<models::vae::EncodeJob> encode;  // of image-to-video
  models::TransformerSpec spec;                  // for activations
  int64_t text_len = 512;
  Geometry geometry;
  int64_t width = 0, height = 0;  // px
  int64_t element_bytes = 2;      // of the compute type
  models::QuantPlan quant;
  bool guided = true;
  int64_t videos = 1;            // that take their steps together
  int64_t step_cache_bytes = 0;  // of each video, while it is denoised
  // A causal run: its caches, and one decoder beside the transformer.
  int64_t causal_bytes = 0;
  bool decodes_along = false;
  bool encodes_along = false;    // texts of later videos
  int64_t extra_conditions = 0;  // prompts that are held beside the first
  bool on_device = false;        // else everything is host memory
  bool text_on_device = false;
  int64_t base_host_bytes = 0;  // the process before any weight is read
};

// What a CUDA context and its libraries take of a device, beside what LibTorch's allocator has.
constexpr int64_t kDeviceContextBytes = int64_t{600} << 20;

struct Budgets {
  int64_t ram = 0;   // bytes that the process may take
  int64_t vram = 0;  // bytes of the device; 0 on the CPU
  Offload offload = Offload::kAuto;
  VaeTiling vae_tiling = VaeTiling::kAuto;
};

struct StagePeak {
  Stage stage = Stage::kDenoise;
  int64_t host_bytes = 0;
  int64_t device_bytes = 0;
};

struct MemoryPlan {
  Budgets budgets;
  models::wan::BlockPlan blocks;
  weights::StreamOptions text_stream;
  models::vae::Tiling vae_tiling;
  bool keep_both_experts = false;  // in memory at the same time
  bool keep_loaded = false;        // also while the VAE decodes, for the next prompt
  std::vector<StagePeak> peaks;    // text_encode, denoise, vae_decode
  int64_t smallest_ram = 0;        // budgets below these cannot work
  int64_t smallest_vram = 0;
  int64_t streamed_bytes_per_step = 0;
  int64_t condition_cache_bytes = 0;  // for prompts' keys and values between videos

  [[nodiscard]] int64_t count(models::wan::BlockHome home) const;
  [[nodiscard]] StagePeak highest() const;  // of each kind of memory, over the stages
};

// Never throws for budgets that are too small: then `fits` of the plan is false and the plan is
// that of the smallest budgets.
MemoryPlan make_plan(const PlanInput& input, const Budgets& budgets);
[[nodiscard]] bool fits(const MemoryPlan& plan);

PlanInput plan_input(const Recipe& recipe, const Model& model, const Compute& compute,
                     int64_t base_host_bytes);

// What the user allows; where nothing is said, what is free less a reserve.
Budgets choose_budgets(const EngineOptions& options, const Compute& compute);

// How `t2v decode` cuts the picture: only the parts of `input` that the VAE needs are looked at.
models::vae::Tiling plan_decode(const PlanInput& input, const Budgets& budgets);
// The parts of a plan's input that the VAE needs, for latents [z, T, h, w].
PlanInput decode_input(const Model& model, const Compute& compute, at::IntArrayRef latents,
                       int64_t base_host_bytes);

// What is missing, for a message: how much of which memory, and what is allowed; "" for a plan that
// fits.
std::string describe_misfit(const MemoryPlan& plan, const Recipe& recipe, const Compute& compute);

// Lines for --dry-run and inspect.
ResolvedSettings describe_plan(const MemoryPlan& plan, const Compute& compute);

// What one size needs on a GPU and on the CPU, and what this machine makes of it.
struct SizePrediction {
  int64_t width = 0, height = 0, frames = 0;
  MemoryPlan on_gpu;  // everything resident, bf16
  MemoryPlan on_cpu;  // everything resident, in this machine's type
  MemoryPlan here;    // by this machine's free memory or the given budgets
  bool fits_here = false;
};
// 480p and 720p at 81 frames, as far as the model can make them.
std::vector<SizePrediction> predict_sizes(const Model& model, const EngineOptions& options,
                                          const Compute& compute, int64_t base_host_bytes);

// "3.62 GB", "18.4 MB" (10^9 and 10^6).
std::string gigabytes(int64_t bytes);

}  // namespace t2v::pipeline
