// The engine: a model folder opened once, used for any number of requests. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "t2v/frame_sink.h"
#include "t2v/progress.h"
#include "t2v/request.h"

namespace t2v {

struct StageTime {
  Stage stage = Stage::kDenoise;
  double start_ms = 0;  // since the request began
  double wall_ms = 0;
  int64_t bytes_read = 0;  // weights read in this stage
};

struct StepTime {
  int64_t index = 0;
  std::string expert;    // "high_noise", "low_noise"; "" for single-expert models
  int64_t timestep = 0;  // 0..1000
  double wall_ms = 0;
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
  double first_step_ms = 0;  // request start to the end of the first step
  double total_ms = 0;
  int64_t host_peak_bytes = 0;
  int64_t device_peak_bytes = 0;      // of tensors on the device; 0 on the CPU
  std::vector<std::string> warnings;  // the result may differ from what was asked
};

// Side outputs of one generation; empty paths mean "not wanted".
struct GenerateOutputs {
  FrameSink* sink = nullptr;        // may be null: then nothing is decoded unless dump_path asks
  std::string dump_path;            // every intermediate tensor (cli.md, --dump)
  std::string save_latents_path;    // final latents + recipe
  std::string rescue_latents_path;  // written only when decoding or the sink fails
  bool embed_recipe = true;
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
  virtual Report generate(const Recipe& recipe, const GenerateOutputs& outputs,
                          ProgressListener& progress, const CancelToken& cancel) = 0;

  // Decodes saved latents (safetensors, tensor `latents` or `latents_final`, [z,T,h,w] or with a
  // leading 1; model space) into frames; a torch archive with one of these or `samples`, or with
  // a bare tensor, does as well. recipe: taken from the file where it carries one.
  virtual Report decode(const std::string& latents_path, double fps, FrameSink& sink,
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
