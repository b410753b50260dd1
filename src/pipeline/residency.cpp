#include "pipeline/residency.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/check.h"
#include "models/wan/transformer.h"
#include "ops/device.h"
#include "pipeline/compute.h"
#include "pipeline/encode_plan.h"

namespace t2v::pipeline {
namespace {

using models::wan::BlockHome;

constexpr int64_t kMiB = int64_t{1} << 20;
// Code of the libraries that is paged in by use, their kernels, scratch and thread stacks.
constexpr int64_t kHostGrowth = 200 * kMiB;
// What the stages before have left in the heap when the decoder runs, measured.
constexpr int64_t kHeapLeft = 128 * kMiB;
// What CUDA and its libraries take of host memory.
constexpr int64_t kDeviceContextHost = 1500 * kMiB;
// cuBLAS' workspace, from LibTorch's allocator.
constexpr int64_t kDeviceWorkspace = 64 * kMiB;
constexpr int64_t kDeviceContext = kDeviceContextBytes + kDeviceWorkspace;
// Blocks smaller when stored than this share of their ready size are worth keeping as stored.
constexpr double kWorthCaching = 0.6;
// What the decoder's packed weights take beside plain ones on the CPU, measured.
constexpr double kVaePackedWeights = 1.8;
// cuDNN's workspace: it takes what it likes of what is left, and makes do with less.
constexpr int64_t kConvolutionWorkspace = 256 * kMiB;
constexpr int64_t kEncoderFrames = 60;  // that an encoder may hold back, 1.5 bytes a pixel

// Image-to-video: what is put beside a video's noise, and both together.
int64_t beside_bytes(const PlanInput& in) {
  const Geometry& g = in.geometry;
  return in.encode
             ? 2 * in.spec.in_channels * g.latent_frames * g.latent_height * g.latent_width * 4
             : 0;
}

// Residual streams, one block's intermediates or the head's (bytes).
int64_t activation_bytes(const PlanInput& in) {
  const int64_t tokens = in.geometry.num_tokens;
  const int64_t c = in.spec.size();
  const int64_t streams = in.videos * (in.guided ? 2 : 1);
  const int64_t rows = std::min(streams, models::wan::num_shared(tokens)) * tokens;
  const int64_t head = rows * c * 4;
  return in.videos * (in.step_cache_bytes + beside_bytes(in)) + streams * tokens * c * 4 +
         std::max(head, models::wan::block_work_bytes(in.spec, rows, in.element_bytes, in.quant));
}

// Keys and values of the prompts' rows in all blocks.
int64_t condition_bytes(const PlanInput& in) {
  const int64_t rows = std::min<int64_t>(in.text_len, 512) + 1;
  return (in.videos * (in.guided ? 2 : 1) + in.extra_conditions) * in.transformer.num_blocks *
         rows * 2 * in.spec.size() * in.element_bytes;
}

// What works beside the transformer takes, a decoder or the text encoder: where the transformer
// runs, and of host memory.
struct AlongBytes {
  int64_t compute = 0;
  int64_t host = 0;
};
AlongBytes along_bytes(const PlanInput& in);

// Memory that holds blocks between two passes, and what is left to it.
struct Room {
  int64_t fixed = 0;  // everything but blocks
  int64_t slots = 0;  // for blocks that are not resident, when there are any
  int64_t budget = 0;
  [[nodiscard]] int64_t for_blocks(bool some_streamed) const {
    return budget - fixed - (some_streamed ? slots : 0);
  }
};

// `count` of n places, evenly spread: reads then overlap with blocks that are at hand.
bool is_chosen(int64_t index, int64_t count, int64_t n) {
  return (index + 1) * count / n > index * count / n;
}

void assign_homes(MemoryPlan& plan, int64_t n, int64_t resident, int64_t cached) {
  plan.blocks.homes.assign(static_cast<size_t>(n), BlockHome::kStreamed);
  const int64_t others = n - resident;
  int64_t other = 0;
  for (int64_t i = 0; i < n; ++i) {
    auto& home = plan.blocks.homes[static_cast<size_t>(i)];
    if (is_chosen(i, resident, n)) {
      home = BlockHome::kResident;
    } else if (is_chosen(other++, cached, others)) {
      home = BlockHome::kHostCached;
    }
  }
}

// How many blocks are ready and how many cached as stored: ready ones first when all others can be
// cached; where the cache is all there is room for, as many of them as fit.
void share_host_room(int64_t room, int64_t n, int64_t ready, int64_t stored, int64_t& resident,
                     int64_t& cached) {
  if (static_cast<double>(stored) > kWorthCaching * static_cast<double>(ready)) {
    resident = std::clamp<int64_t>(room / std::max<int64_t>(ready, 1), 0, n);
    return;
  }
  if (room >= n * stored) {
    resident = std::min(n, (room - n * stored) / std::max<int64_t>(ready - stored, 1));
    cached = n - resident;
  } else {
    cached = std::clamp<int64_t>(room / std::max<int64_t>(stored, 1), 0, n);
  }
}

int64_t ring_bytes(const weights::StreamOptions& stream, int64_t largest) {
  return stream.num_buffers * largest;
}

// The fixed parts of the denoising stage.
Room host_room(const PlanInput& in, const MemoryPlan& plan) {
  const auto& t = in.transformer;
  const int64_t rings = in.num_experts > 1 ? 2 : 1;  // the next expert reads before the other goes
  Room room;
  room.budget = plan.budgets.ram;
  room.fixed = in.base_host_bytes + kHostGrowth + (in.on_device ? kDeviceContextHost : 0) +
               t.loras + rings * ring_bytes(plan.blocks.stream, t.block_stored) +
               along_bytes(in).host;
  if (!in.on_device) {
    room.fixed += t.rest + t.prologue + activation_bytes(in) + condition_bytes(in) +
                  in.causal_bytes + along_bytes(in).compute;
    room.slots = plan.blocks.num_slots * t.slot_ready;
  }
  return room;
}

Room device_room(const PlanInput& in, const MemoryPlan& plan) {
  const auto& t = in.transformer;
  Room room;
  room.budget = plan.budgets.vram;
  room.fixed = kDeviceContext + t.rest + t.prologue + activation_bytes(in) + condition_bytes(in) +
               in.causal_bytes + along_bytes(in).compute;
  room.slots = plan.blocks.num_slots * t.slot_ready;
  return room;
}

void place_blocks(const PlanInput& in, MemoryPlan& plan) {
  const auto& t = in.transformer;
  const int64_t n = t.num_blocks;
  const Room host = host_room(in, plan);
  int64_t resident = 0;
  int64_t cached = 0;
  const Offload offload = plan.budgets.offload;
  if (in.on_device) {
    const Room device = device_room(in, plan);
    const bool all = device.for_blocks(false) >= n * t.block_ready;
    resident = all || offload == Offload::kNone || offload == Offload::kModel
                   ? n
                   : std::clamp<int64_t>(device.for_blocks(true) / t.block_ready, 0, n - 1);
    if (offload == Offload::kBlock) resident = 0;
    cached = std::clamp<int64_t>(host.for_blocks(false) / std::max<int64_t>(t.block_cached, 1), 0,
                                 n - resident);
  } else if (offload == Offload::kBlock) {
    resident = 0;
  } else if (offload != Offload::kAuto || host.for_blocks(false) >= n * t.block_ready) {
    resident = n;
  } else {
    share_host_room(std::max<int64_t>(host.for_blocks(true), 0), n, t.block_ready, t.block_cached,
                    resident, cached);
    resident = std::min(resident, n - 1);
  }
  assign_homes(plan, n, resident, cached);
  plan.blocks.keep_key_weights = resident == n;
}

// The decoder, and what its tiling leaves to choose from.
class DecodeNeeds {
 public:
  // base, kept: memory of the process and of weights that stay, where the decoder runs.
  DecodeNeeds(const PlanInput& in, int64_t base, int64_t kept)
      : in_(in),
        fixed_(base + kept +
               (in.on_device ? in.vae_ready + kConvolutionWorkspace
                             : static_cast<int64_t>(static_cast<double>(in.vae_ready) *
                                                    kVaePackedWeights))) {}

  [[nodiscard]] models::vae::Tiling choose(const Budgets& budgets) const {
    if (budgets.vae_tiling == VaeTiling::kOff) return {};
    if (budgets.vae_tiling == VaeTiling::kOn)
      return models::vae::small_tiles(in_.decode.height, in_.decode.width);
    const int64_t room = (in_.on_device ? budgets.vram : budgets.ram) - fixed_;
    return models::vae::choose_tiling(in_.vae, in_.decode, room)
        .value_or(models::vae::smallest_tiling(in_.vae, in_.decode));
  }
  // Where the decoder runs.
  [[nodiscard]] int64_t bytes(const models::vae::Tiling& tiling) const {
    return fixed_ + models::vae::decode_work_bytes(in_.vae, in_.decode, tiling) +
           (in_.on_device ? 0 : canvas(tiling));
  }
  // Host memory.
  [[nodiscard]] int64_t canvas(const models::vae::Tiling& tiling) const {
    return models::vae::decode_canvas_bytes(in_.vae, in_.decode, tiling);
  }

 private:
  const PlanInput& in_;
  int64_t fixed_;
};

// The encoder's and the pictures' on their way to it.
int64_t frame_bytes(const PlanInput& in) {
  return in.width * in.height * 3 * 16 + kEncoderFrames * in.width * in.height * 3 / 2;
}

// The text encoder's block at work. Matrices that need no conversion are used where they were read.
int64_t text_work_bytes(const PlanInput& in) {
  const bool as_stored =
      !in.text_on_device &&
      std::abs(in.text_block_stored - in.text_block_ready) <= in.text_block_ready / 100;
  return as_stored ? 0 : in.text_block_ready;
}

AlongBytes text_along_bytes(const PlanInput& in) {
  if (!in.encodes_along) return {};
  const int64_t host = kTextBuffersAlong * in.text_block_stored + kHeldTextBytes;
  return in.text_on_device ? AlongBytes{.compute = text_work_bytes(in), .host = host}
                           : AlongBytes{.compute = 0, .host = host + text_work_bytes(in)};
}

AlongBytes along_bytes(const PlanInput& in) {
  AlongBytes bytes = text_along_bytes(in);
  if (!in.decodes_along) return bytes;
  bytes.compute += DecodeNeeds(in, 0, 0).bytes({});
  bytes.host += frame_bytes(in);
  return bytes;
}

int64_t host_base(const PlanInput& in) {
  return in.base_host_bytes + kHostGrowth + (in.on_device ? kDeviceContextHost : 0);
}

void set_peaks(const PlanInput& in, MemoryPlan& plan) {
  const auto& t = in.transformer;
  const int64_t resident = plan.count(BlockHome::kResident);
  const int64_t cached = plan.count(BlockHome::kHostCached);
  const bool some_streamed = resident < t.num_blocks;
  const Room host = host_room(in, plan);
  const int64_t experts = plan.keep_both_experts ? in.num_experts : 1;
  const int64_t ready = experts * resident * t.block_ready -
                        (plan.blocks.keep_key_weights ? 0 : resident * t.key_weights);
  const int64_t base = host_base(in);
  const int64_t text_ready = text_work_bytes(in);
  const int64_t kept_host = plan.keep_loaded && !in.on_device ? ready + t.rest + t.prologue : 0;
  const int64_t kept_device = plan.keep_loaded && in.on_device ? ready + t.rest + t.prologue : 0;

  StagePeak text{.stage = Stage::kTextEncode};
  text.host_bytes = base + kept_host + ring_bytes(plan.text_stream, in.text_block_stored) +
                    (in.text_on_device ? 0 : text_ready);
  text.device_bytes =
      in.on_device ? kDeviceContext + kept_device + (in.text_on_device ? text_ready : 0) : 0;

  StagePeak denoise{.stage = Stage::kDenoise};
  // Handing over never holds more than one expert's blocks and both rings.
  denoise.host_bytes = host.fixed + cached * t.block_cached;
  if (in.on_device) {
    const Room device = device_room(in, plan);
    denoise.device_bytes = device.fixed + (some_streamed ? device.slots : 0) + ready;
  } else {
    denoise.host_bytes += (some_streamed ? host.slots : 0) + ready;
  }

  StagePeak decode{.stage = Stage::kVaeDecode};
  const AlongBytes texts = text_along_bytes(in);
  const int64_t decode_host = base + kHeapLeft + frame_bytes(in) + texts.host;
  const DecodeNeeds needs = in.on_device
                                ? DecodeNeeds(in, kDeviceContext + texts.compute, kept_device)
                                : DecodeNeeds(in, decode_host, kept_host);
  plan.vae_tiling = needs.choose(plan.budgets);
  if (in.on_device) {
    decode.host_bytes = decode_host + needs.canvas(plan.vae_tiling);
    decode.device_bytes = needs.bytes(plan.vae_tiling);
  } else {
    decode.host_bytes = needs.bytes(plan.vae_tiling);
  }
  plan.peaks = {text, denoise, decode};
  if (in.encode) {
    const int64_t work = encoder_bytes(in) + along_bytes(in).compute;
    plan.peaks.push_back(
        {.stage = Stage::kVaeEncode,
         .host_bytes = base + kHeapLeft + along_bytes(in).host +
                       (in.on_device ? in.width * in.height * 3 * 16 : kept_host + work),
         .device_bytes = in.on_device ? kDeviceContext + kept_device + work : 0});
  }
  plan.streamed_bytes_per_step =
      (t.num_blocks - resident - (in.on_device ? 0 : cached)) * t.block_stored;
}

MemoryPlan plan_once(const PlanInput& in, const Budgets& budgets) {
  MemoryPlan plan;
  plan.budgets = budgets;
  if (in.on_device) plan.blocks.stream.allocate = ops::allocate_pinned;
  if (in.text_on_device) plan.text_stream.allocate = ops::allocate_pinned;
  plan.blocks.quant = in.quant;
  plan.blocks.load_ahead = in.on_device;
  plan.blocks.num_slots = in.on_device ? 2 : 1;
  plan.text_stream.num_buffers = 2;
  place_blocks(in, plan);
  set_peaks(in, plan);
  return plan;
}

bool all_fit(const MemoryPlan& plan) {
  const StagePeak peak = plan.highest();
  return peak.host_bytes <= plan.budgets.ram &&
         (plan.budgets.vram == 0 || peak.device_bytes <= plan.budgets.vram);
}

// Turns a comfort on where the plan still fits with it.
void try_with(const PlanInput& in, MemoryPlan& plan,
              const std::function<void(MemoryPlan&)>& change) {
  MemoryPlan tried = plan;
  change(tried);
  set_peaks(in, tried);
  // A comfort is not worth tiles.
  if (all_fit(tried) && tried.vae_tiling == plan.vae_tiling) plan = tried;
}

// Half of what a plan leaves free, where the transformer runs.
int64_t condition_cache_room(const PlanInput& in, const MemoryPlan& plan) {
  constexpr int64_t kMost = int64_t{2} << 30;
  const StagePeak peak = plan.highest();
  const int64_t room =
      in.on_device ? plan.budgets.vram - peak.device_bytes : plan.budgets.ram - peak.host_bytes;
  return std::clamp<int64_t>(room / 2, 0, kMost);
}

}  // namespace

std::string gigabytes(int64_t bytes) {
  char text[32];
  if (bytes < 1000 * 1000 * 1000) {
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  }
  return text;
}

int64_t MemoryPlan::count(BlockHome home) const {
  return std::count(blocks.homes.begin(), blocks.homes.end(), home);
}

StagePeak MemoryPlan::highest() const {
  StagePeak highest;
  for (const StagePeak& peak : peaks) {
    if (peak.host_bytes > highest.host_bytes) highest.stage = peak.stage;
    highest.host_bytes = std::max(highest.host_bytes, peak.host_bytes);
    highest.device_bytes = std::max(highest.device_bytes, peak.device_bytes);
  }
  return highest;
}

MemoryPlan make_plan(const PlanInput& in, const Budgets& budgets) {
  Budgets least = budgets;
  least.offload = Offload::kBlock;
  least.ram = 0;
  least.vram = 0;
  const bool fixed_homes = budgets.offload == Offload::kNone || budgets.offload == Offload::kModel;
  if (fixed_homes) least.offload = budgets.offload;
  const StagePeak smallest = plan_once(in, least).highest();

  MemoryPlan plan = plan_once(in, budgets);
  plan.smallest_ram = smallest.host_bytes;
  plan.smallest_vram = smallest.device_bytes;
  if (budgets.offload == Offload::kNone) {
    plan.keep_both_experts = plan.keep_loaded = true;
    set_peaks(in, plan);
  } else if (budgets.offload == Offload::kAuto) {
    const bool all_resident = plan.count(BlockHome::kResident) == in.transformer.num_blocks;
    if (all_resident && in.num_experts > 1)
      try_with(in, plan, [](MemoryPlan& p) { p.keep_both_experts = true; });
    if (all_resident && (in.num_experts == 1 || plan.keep_both_experts))
      try_with(in, plan, [](MemoryPlan& p) { p.keep_loaded = true; });
    try_with(in, plan, [](MemoryPlan& p) { p.text_stream.num_buffers = 4; });
  }
  plan.condition_cache_bytes = condition_cache_room(in, plan);
  return plan;
}

models::vae::Tiling plan_decode(const PlanInput& in, const Budgets& budgets) {
  const int64_t base = in.on_device ? kDeviceContext : host_base(in) + kHeapLeft + frame_bytes(in);
  return DecodeNeeds(in, base, 0).choose(budgets);
}

bool fits(const MemoryPlan& plan) { return all_fit(plan); }

}  // namespace t2v::pipeline
