// What the plan is made from and for: the model's sizes, the machine's memory, words for people.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "core/check.h"
#include "models/umt5/encoder.h"
#include "models/wan/block.h"
#include "pipeline/compute.h"
#include "pipeline/encode_plan.h"
#include "pipeline/residency.h"
#include "pipeline/step_cache_plan.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockHome;

constexpr int64_t kMinReserve = int64_t{512} << 20;

struct PartBytes {
  int64_t stored = 0;
  int64_t elements = 0;
};

// Of all tensors whose names start so.
PartBytes part_bytes(const weights::WeightMap& map, const std::string& prefix) {
  PartBytes part;
  const weights::TensorEntry* last = nullptr;
  for (const auto& [name, entry] : map.entries(prefix)) {
    part.stored += entry->bytes;
    // A scale comes behind its weight under the same name: it is no tensor of its own.
    if (last == nullptr || map.shape(name) == entry->shape)
      part.elements += weights::num_elements(entry->shape);
    last = entry;
  }
  return part;
}

bool is_quantised_weight(const std::string& name, const std::vector<int64_t>& shape) {
  return shape.size() == 2 && name.ends_with(".weight");
}

// One block: ready to run, cached in host memory, and its largest matrix.
struct BlockBytes {
  int64_t ready = 0;
  int64_t cached = 0;
  int64_t key_weights = 0;
  int64_t largest = 0;  // elements
  bool is_requantised = false;
};

BlockBytes block_bytes(const weights::WeightMap& map, int64_t index, int64_t element_bytes,
                       const models::QuantPlan& quant) {
  BlockBytes bytes;
  std::string last;
  for (const auto& [name, entry] : map.entries(core::str("blocks.", index, "."))) {
    if (name == last) continue;  // a scale comes behind its weight under the same name
    last = name;
    const auto& shape = map.shape(name);
    const int64_t count = weights::num_elements(shape);
    const bool stored = map.int8_rotation(name).has_value();
    const bool small =
        quant.is_on() && is_quantised_weight(name, shape) && (!quant.as_stored || stored);
    const int64_t ready = small ? count + 4 * shape[0] : count * element_bytes;
    bytes.ready += ready;
    bytes.cached += small && quant.rows != ops::RowType::kFp8 ? count + 4 * shape[0] : entry->bytes;
    bytes.is_requantised |= small && !stored;
    if (models::wan::Block::is_key_weight(name)) bytes.key_weights += ready;
    if (is_quantised_weight(name, shape)) bytes.largest = std::max(bytes.largest, count);
  }
  return bytes;
}

TransformerBytes transformer_bytes(const Model& model, int64_t element_bytes,
                                   const models::QuantPlan& quant) {
  const weights::WeightMap map = open_weights(model, "transformer");
  TransformerBytes bytes;
  const int64_t n = model.transformer.num_blocks;
  bytes.num_blocks = n;
  int64_t all_ready = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t stored = part_bytes(map, core::str("blocks.", i, ".")).stored;
    const BlockBytes block = block_bytes(map, i, element_bytes, quant.for_block(i, n));
    bytes.block_stored = std::max(bytes.block_stored, stored);
    bytes.slot_ready = std::max(bytes.slot_ready, block.ready);
    bytes.block_cached = std::max(bytes.block_cached, block.is_requantised ? block.cached : stored);
    // One matrix in fp32, and the int8 of a layer before it is packed.
    if (block.is_requantised)
      bytes.build_scratch = std::max(bytes.build_scratch, 5 * block.largest);
    // Expanded in each call.
    if (quant.weights_only)
      bytes.build_scratch = std::max(bytes.build_scratch, element_bytes * block.largest);
    bytes.key_weights = std::max(bytes.key_weights, block.key_weights);
    all_ready += block.ready;
  }
  bytes.block_ready = (all_ready + n - 1) / std::max<int64_t>(n, 1);
  for (const char* name : {"time_embedding.", "time_projection."})
    bytes.prologue += part_bytes(map, name).elements * 4;
  bytes.prologue += part_bytes(map, "text_embedding.").elements * element_bytes;
  for (const char* name : {"patch_embedding.", "head."})
    bytes.rest += part_bytes(map, name).elements * 4;
  return bytes;
}

int64_t round_up_mib(int64_t bytes) { return (bytes >> 20) + 1; }

std::string home_words(const MemoryPlan& plan, bool on_device) {
  const int64_t resident = plan.count(BlockHome::kResident);
  const int64_t cached = plan.count(BlockHome::kHostCached);
  const int64_t streamed = plan.count(BlockHome::kStreamed);
  std::string words = core::str(resident, " of ", plan.blocks.homes.size(), " blocks resident");
  if (cached > 0) words += core::str(", ", cached, on_device ? " in host memory" : " kept packed");
  if (streamed > 0) words += core::str(", ", streamed, " read in every step");
  return words;
}

// What is left to others: less of little.
int64_t reserve_of(int64_t available) {
  return std::max(std::min(kMinReserve, available / 4), available / 20);
}

}  // namespace

PlanInput plan_input(const Recipe& recipe, const Model& model, const Compute& compute,
                     int64_t base_host_bytes) {
  const Geometry geometry =
      make_geometry(recipe.width, recipe.height, recipe.frames, model.geometry_rules());
  PlanInput in = decode_input(
      model, compute,
      {model.vae.z_dim, geometry.latent_frames, geometry.latent_height, geometry.latent_width},
      base_host_bytes);
  in.text_on_device = !compute.text_encoder_device.is_cpu();
  in.element_bytes = compute.dtype == at::kFloat ? 4 : 2;
  in.quant = compute.quant;
  in.transformer = transformer_bytes(model, in.element_bytes, in.quant);
  in.num_experts = model.two_experts() ? 2 : 1;
  const weights::WeightMap text = open_weights(model, "text_encoder");
  const PartBytes text_block = part_bytes(text, "blocks.0.");
  in.text_block_stored = text_block.stored;
  in.text_block_ready =
      text_block.elements *
      (compute.text_encoder_device.is_cpu() && compute.dtype == at::kHalf ? 4 : in.element_bytes);
  in.spec = model.transformer;
  in.text_len = recipe.text_len;
  in.width = recipe.width;
  in.height = recipe.height;
  in.geometry = geometry;
  if (recipe.image) plan_encode(model, compute, in);
  in.guided = recipe.guidance_scale.high_noise != 1.0 || recipe.guidance_scale.low_noise != 1.0;
  in.step_cache_bytes = step_cache_bytes(recipe, model, in.element_bytes);
  return in;
}

PlanInput decode_input(const Model& model, const Compute& compute, at::IntArrayRef latents,
                       int64_t base_host_bytes) {
  PlanInput in;
  in.on_device = !compute.device.is_cpu();
  in.base_host_bytes = base_host_bytes;
  in.vae = model.vae;
  in.decode = {.num_latents = latents[1],
               .height = latents[2],
               .width = latents[3],
               .dtype = models::vae::decoder_dtype(model.vae, compute.dtype, compute.device.type()),
               .form = models::vae::network_form(model.vae, compute.device.type()),
               .device = compute.device.type()};
  in.width = latents[3] * model.vae.spatial_factor();
  in.height = latents[2] * model.vae.spatial_factor();
  if (in.decode.form == models::vae::NetworkForm::kFrames) {
    in.vae_ready = models::vae::frame_weight_bytes(model.vae, in.decode.dtype);
  } else {
    const weights::WeightMap map = open_weights(model, "vae");
    for (const char* prefix : {"decoder.", "post_quant_conv."})
      in.vae_ready += part_bytes(map, prefix).elements *
                      static_cast<int64_t>(c10::elementSize(in.decode.dtype));
  }
  return in;
}

Budgets choose_budgets(const EngineOptions& options, const Compute& compute) {
  Budgets budgets;
  budgets.offload = options.offload;
  budgets.vae_tiling = options.vae_tiling;
  budgets.ram = options.ram_budget_bytes;
  if (budgets.ram == 0) {
    const int64_t available = available_host_bytes();
    // A system that does not tell its memory sets no limit.
    budgets.ram = available == 0 ? std::numeric_limits<int64_t>::max() / 4
                                 : available - reserve_of(available);
  }
  if (compute.device.is_cpu()) return budgets;
  budgets.vram = options.vram_budget_bytes;
  if (budgets.vram == 0) {
    const int64_t available = available_device_bytes(compute.device) + kDeviceContextBytes;
    budgets.vram = available - reserve_of(available);
  }
  return budgets;
}

std::string describe_misfit(const MemoryPlan& plan, const Recipe& recipe, const Compute& compute) {
  if (fits(plan)) return "";
  const std::string work = core::str(" (", recipe.width, "x", recipe.height, ", ", recipe.frames,
                                     " frames, ", describe(compute), ")");
  const auto needs = [&](const char* which, const char* least, int64_t bytes, int64_t allowed) {
    return core::str("not enough ", which, " memory: this run needs ", least, gigabytes(bytes),
                     ", allowed are ", gigabytes(allowed), work);
  };
  const Budgets& allowed = plan.budgets;
  if (allowed.ram < plan.smallest_ram)
    return needs("host", "at least ", plan.smallest_ram, allowed.ram);
  if (allowed.vram > 0 && allowed.vram < plan.smallest_vram)
    return needs("device", "at least ", plan.smallest_vram, allowed.vram);
  const StagePeak peak = plan.highest();
  return peak.host_bytes > allowed.ram ? needs("host", "", peak.host_bytes, allowed.ram)
                                       : needs("device", "", peak.device_bytes, allowed.vram);
}

std::vector<SizePrediction> predict_sizes(const Model& model, const EngineOptions& options,
                                          const Compute& compute, int64_t base_host_bytes) {
  constexpr int64_t kPlenty = int64_t{1} << 50;
  const GeometryRules rules = model.geometry_rules();
  std::vector<SizePrediction> predictions;
  for (const auto& [width, height] : {std::pair{832, 480}, {1280, 720}}) {
    Recipe recipe;
    recipe.width = width;
    // 720 is no multiple of 32: the model of that kind makes 704.
    recipe.height = height - height % (rules.spatial_scale * rules.patch_height);
    recipe.frames = 81;
    recipe.text_len = model.text_len;
    recipe.guidance_scale = {.high_noise = 5.0, .low_noise = 5.0};
    if ((recipe.frames - 1) % rules.temporal_scale != 0 ||
        recipe.width % (rules.spatial_scale * rules.patch_width) != 0)
      continue;
    const auto plan = [&](const Compute& where, const Budgets& budgets) {
      return make_plan(plan_input(recipe, model, where, base_host_bytes), budgets);
    };
    Compute gpu{at::Device(at::kCUDA, 0), at::kBFloat16, at::Device(at::kCUDA, 0)};
    Compute cpu{at::kCPU, compute.device.is_cpu() ? compute.dtype : at::kBFloat16, at::kCPU};
    gpu.quant = cpu.quant = compute.quant;
    const Budgets all{.ram = kPlenty, .vram = kPlenty, .offload = Offload::kModel};
    SizePrediction p{.width = recipe.width,
                     .height = recipe.height,
                     .frames = recipe.frames,
                     .on_gpu = plan(gpu, all),
                     .on_cpu = plan(cpu, {.ram = kPlenty, .offload = Offload::kModel}),
                     .here = plan(compute, choose_budgets(options, compute))};
    p.fits_here = fits(p.here);
    predictions.push_back(std::move(p));
  }
  return predictions;
}

ResolvedSettings describe_plan(const MemoryPlan& plan, const Compute& compute) {
  const bool on_device = !compute.device.is_cpu();
  ResolvedSettings lines = {{"transformer", home_words(plan, on_device)}};
  if (plan.streamed_bytes_per_step > 0)
    lines.emplace_back("read in every step", gigabytes(plan.streamed_bytes_per_step));
  lines.emplace_back("experts", plan.keep_both_experts ? "both stay in memory"
                                : plan.keep_loaded     ? "stays in memory between prompts"
                                                       : "one at a time");
  lines.emplace_back("prompts kept for later videos", gigabytes(plan.condition_cache_bytes));
  lines.emplace_back("text encoder",
                     core::str("block by block, ", plan.text_stream.num_buffers, " read ahead"));
  const models::vae::Tiling& tiling = plan.vae_tiling;
  lines.emplace_back("VAE", tiling.is_tiled()
                                ? core::str("in ", tiling.columns, " x ", tiling.rows, " tiles")
                                : "whole pictures");
  for (const StagePeak& peak : plan.peaks) {
    std::string value = core::str(gigabytes(peak.host_bytes), " host");
    if (on_device) value += core::str(", ", gigabytes(peak.device_bytes), " device");
    lines.emplace_back(core::str("peak of ", stage_name(peak.stage)), value);
  }
  lines.emplace_back("host memory, allowed", gigabytes(plan.budgets.ram));
  if (on_device) lines.emplace_back("device memory, allowed", gigabytes(plan.budgets.vram));
  lines.emplace_back("smallest --ram-budget", core::str(round_up_mib(plan.smallest_ram), "MiB"));
  if (on_device)
    lines.emplace_back("smallest --vram-budget",
                       core::str(round_up_mib(plan.smallest_vram), "MiB"));
  return lines;
}

}  // namespace t2v::pipeline
