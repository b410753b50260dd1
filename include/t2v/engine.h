// The engine: a model folder opened once, used for any number of requests. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "t2v/batch.h"
#include "t2v/frame_sink.h"
#include "t2v/frame_source.h"
#include "t2v/progress.h"
#include "t2v/request.h"

namespace t2v {

struct StageTime {
  Stage stage = Stage::kDenoise;
  double start_ms = 0;  // since the request began
  double wall_ms = 0;
  double device_ms = 0;    // of it, the device was busy; on the CPU: wall_ms
  int64_t bytes_read = 0;  // weights read in this stage
  int64_t bytes_h2d = 0;   // copied to the device
};

struct StepTime {
  int64_t index = 0;
  std::string expert;   // "high_noise", "low_noise"; "" for single-expert models
  double timestep = 0;  // 0..1000
  double wall_ms = 0;
  double device_ms = 0;    // on the CPU: wall_ms
  bool predicted = false;  // by the step cache, not computed
};

// One kind of operation of a run (--profile).
struct KernelTime {
  std::string name;  // "self_attention", "linear" ...
  int64_t calls = 0;
  double device_ms = 0;
  double flop = 0;
};

struct MemoryPoint {
  double ms = 0;  // since the request began
  int64_t device_bytes = 0;
  int64_t host_bytes = 0;
};

// What the step cache did.
struct StepCacheUse {
  std::string mask;  // one digit a step: 1 computed, 0 predicted; "" = off
  double estimated_error = 0;
};

// How weights travelled during one request.
struct WeightTraffic {
  int64_t bytes = 0;            // read from disk, cache or network
  double gb_per_s = 0;          // of these reads, while there were any; 10^9 bytes
  double stall_ms = 0;          // computing waited for weights
  double expert_switch_ms = 0;  // from the last step of one expert to the first block of the next
  int64_t streamed_blocks = 0;  // blocks that were read again for a step; 0 = all were resident
};

// What belongs to a prompt and not to a step, and so was made once: text embeddings, and the
// cross-attention keys and values of each expert.
struct ConditionUse {
  int64_t text_hits = 0;    // prompts whose text embeddings were at hand from an earlier video
  int64_t text_misses = 0;  // prompts that went through the text encoder
  int64_t key_hits = 0;     // the same of keys and values
  int64_t key_misses = 0;
  int64_t bytes = 0;           // kept for later videos
  double make_ms = 0;          // spent on what was missing, as the host saw it
  double saved_ms = 0;         // what hits, and the steps behind the first, would have spent
  int64_t bytes_not_read = 0;  // of weights that only make keys, left out when blocks were read
};

struct Report {
  Recipe recipe;
  std::string device;  // for people: "CPU, 2 threads, bf16"
  std::string model;   // for people: "Wan2.2-T2V-A14B (two experts)"
  std::vector<StageTime> stages;
  std::vector<StepTime> steps;
  WeightTraffic weights;
  ConditionUse conditions;
  StepCacheUse step_cache;
  std::vector<KernelTime> kernels;  // EngineOptions::profile
  std::vector<MemoryPoint> memory;  // EngineOptions::profile
  double flop = 0;                  // EngineOptions::profile; of all kernels
  double denoise_flop_per_s = 0;    // EngineOptions::profile
  double peak_flop_per_s = 0;       // EngineOptions::profile; of a large matrix product here
  std::string retried;              // why and how it was made once more; "" = it was not
  int64_t resumed_steps = 0;        // of an earlier run, from its checkpoint
  int64_t together = 1;             // videos that took their steps together; times are those of all
  double first_step_ms = 0;         // request start to the end of the first step
  double total_ms = 0;
  int64_t host_peak_bytes = 0;
  int64_t device_peak_bytes = 0;      // of tensors on the device; 0 on the CPU
  std::vector<std::string> warnings;  // the result may differ from what was asked
};

struct TokenizedPrompt {
  std::string text;          // as given
  std::string clean;         // after prompt cleaning
  std::vector<int64_t> ids;  // with the closing </s>, without padding
  bool truncated = false;
};

// A preset or the defaults of this model, as (flag, value) pairs in the order of cli.md.
using ResolvedSettings = std::vector<std::pair<std::string, std::string>>;

class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine();

  // Fills every open field; refuses impossible sizes with the nearest valid ones. Reads no weights.
  // Throws Error{kUsage, kInput, kModel}.
  virtual Recipe resolve(const Request& request) const = 0;

  // Everything about the recipe as one JSON object (embedded in videos and saved latents).
  virtual std::string recipe_json(const Recipe& recipe) const = 0;

  // Human-readable plan lines of a resolved recipe (for --dry-run): device, dtypes, sizes, memory.
  virtual ResolvedSettings plan(const Recipe& recipe) const = 0;

  // Makes one video. After any Error the engine stays usable.
  Report generate(const Recipe& recipe, const GenerateOutputs& outputs, ProgressListener& progress,
                  const CancelToken& cancel);

  // Makes videos in this order; those that suit each other take their steps together, and one may
  // be decoded while the next is denoised. What ends a video is told to the host, and the others
  // go on; only a cancellation is thrown (Error{kCancelled}), with every video that was begun told
  // as failed. The engine stays usable.
  virtual void generate_all(const std::vector<BatchItem>& items, BatchHost& host,
                            ProgressListener& progress, const CancelToken& cancel) = 0;

  // Decodes saved latents (safetensors, tensor `latents` or `latents_final`, [z,T,h,w] or with a
  // leading 1; model space) into frames; a torch archive with one of these or `samples`, or with
  // a bare tensor, does as well. recipe: taken from the file where it carries one.
  virtual Report decode(const std::string& latents_path, double fps, FrameSink& sink,
                        ProgressListener& progress, const CancelToken& cancel) = 0;

  // Spans of everything since the engine was opened, as a Chrome trace. Needs EngineOptions::trace.
  // Throws Error{kOutput}.
  virtual void write_trace(const std::string& path) = 0;

  // Runs the recipe without skipping a step and writes the table that --step-cache mag reads
  // (JSON).
  virtual Report calibrate_step_cache(const Recipe& recipe, const std::string& table_path,
                                      ProgressListener& progress, const CancelToken& cancel) = 0;

  // The VAE's encoder alone: a picture or a video to latents (safetensors), for `t2v decode`.
  virtual Report encode(FrameSource& source, const std::string& latents_path,
                        ProgressListener& progress, const CancelToken& cancel) = 0;

  // The tokenizer alone; needs no weights.
  virtual TokenizedPrompt tokenize(const std::string& prompt) const = 0;

  // All presets with every resolved value for this model.
  virtual std::vector<std::pair<std::string, ResolvedSettings>> presets() const = 0;
};

// Shows saved latents (as for Engine::decode, 16 channels) at a glance: a linear map of the
// channels to colours, one pixel a latent, enlarged to the video's size. Needs no model. Throws
// Error{kInput, kOutput, kCancelled}.
Report preview_latents(const std::string& latents_path, double fps, FrameSink& sink,
                       ProgressListener& progress, const CancelToken& cancel);

enum class ReportFormat { kText, kJson };

// What stands at options.model_path: a model in any layout (layout, variant, experts, components,
// memory that it takes, tensor tables), also one that cannot be run yet, or a single file of
// tensors. Reads headers only. Throws Error{kModel, kRemote, kDevice}.
std::string inspect_model(const EngineOptions& options, ReportFormat format);

// Opens a model: reads configs and file headers, no weights. Throws Error{kModel, kUsage, kDevice}.
std::unique_ptr<Engine> open_engine(const EngineOptions& options);

}  // namespace t2v
