// What to make (Request: as asked, Recipe: fully resolved) and how to run (EngineOptions).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace t2v {

enum class Solver { kUniPC, kEuler, kDpmpp, kRenoise };
enum class SigmaTable { kWan, kDiffusers };
// Which steps are predicted instead of computed. Easy: from the latents' change. Mag: from a
// calibrated table of the transformer's residuals.
enum class StepCachePolicy { kOff, kEasy, kMag };
enum class Device { kAuto, kCpu, kCuda };
enum class Dtype { kAuto, kFp32, kBf16, kFp16 };
enum class Backend { kFused, kReference };  // fused ops of our own, or their composed twins
// How the transformer's linear layers compute. Auto: int8 where `t2v quantize` has made the files,
// else none. Int8Weights: 8-bit weights, 16-bit rows.
enum class Quant { kAuto, kNone, kInt8, kInt8Weights, kFp8 };
// Quality: the first and the last blocks stay 16-bit, and so does attention in the first and the
// last steps.
enum class QuantPreset { kFast, kQuality };
enum class KvCache { kAuto, kInt8 };  // how a causal run keeps keys and values
// What becomes of the past when the prompt of a causal run changes (specs: kv-cache, B8).
enum class PromptChange { kResetCross, kRecache, kFlush };
enum class SinkRope { kAbsolute, kRelative };

// "unipc", "euler", "dpm++", "renoise"; "wan", "diffusers": as on the command line.
const char* solver_name(Solver solver) noexcept;
const char* sigma_table_name(SigmaTable table) noexcept;
// "auto", "none", "int8", "int8-wo", "fp8"; "reset-cross", "recache", "flush"; "absolute",
// "relative".
const char* quant_name(Quant quant) noexcept;
const char* prompt_change_name(PromptChange change) noexcept;
const char* sink_rope_name(SinkRope rope) noexcept;

// "off", "easy", "mag".
const char* step_cache_name(StepCachePolicy policy) noexcept;
// All values of --preset, in the order of the documentation.
const std::vector<std::string>& preset_names();

struct StepCacheOptions {
  StepCachePolicy policy = StepCachePolicy::kOff;
  double threshold = 0;    // 0: the policy's own for this model
  std::string table_path;  // of mag: what `t2v calibrate-cache` wrote; "" = the model's own
};

// A picture that the user gives.
struct Picture {
  int64_t width = 0;         // px
  int64_t height = 0;        // px
  std::vector<uint8_t> rgb;  // height x width x 3
};

// From this time of the video on, another prompt.
struct PromptAt {
  double seconds = 0;
  std::string prompt;  // UTF-8
};

// As asked: an empty optional means "the preset's, the model folder's or the model's own default".
struct Request {
  std::string prompt;                          // UTF-8
  std::optional<std::string> negative_prompt;  // UTF-8; "" for none
  std::optional<int64_t> width;                // px
  std::optional<int64_t> height;               // px
  std::optional<int64_t> frames;               // 4n+1
  std::optional<double> seconds;               // instead of frames
  std::optional<double> fps;                   // frames per second
  std::optional<int64_t> steps;                // >= 1
  std::optional<Solver> solver;
  std::optional<SigmaTable> sigma_table;
  std::optional<double> shift;                // > 0
  std::optional<double> guidance_scale;       // both experts
  std::optional<double> guidance_scale_high;  // high-noise expert; wins over guidance_scale
  std::optional<double> guidance_scale_low;   // low-noise expert; wins over guidance_scale
  std::optional<double> boundary;             // 0..1, share of the training timesteps
  std::optional<uint64_t> seed;               // random when absent
  std::string latents_path;                   // initial noise; "" = from the seed
  std::string preset = "official";
  std::vector<double> t_list;  // timesteps 0..1000, descending; a last 0 is no model call
  std::optional<StepCacheOptions> step_cache;
  // Image-to-video: the first frame and the last one; paths are for people and recipes.
  std::string image_path, last_image_path;
  std::shared_ptr<const Picture> image, last_image;
  // Causal checkpoints: "" = the model's own, none for bidirectional weights.
  std::string causal;                // a profile's name or file
  std::vector<PromptAt> prompts_at;  // ascending
  std::optional<PromptChange> prompt_change;
  std::optional<SinkRope> sink_rope;
};

// One number per expert, by name.
struct GuidanceScale {
  double high_noise = 1.0;
  double low_noise = 1.0;
};

// Keys and values that a causal run keeps, as decided by its profile and the memory there is.
struct CausalWindow {
  int64_t frames = 0;  // latent frames that attention sees: sinks, past and current chunk; 0 = none
  int64_t sinks = 0;   // the first ones, which stay
  bool int8 = false;   // the past in int8
};

// Fully resolved: the same recipe on the same build and device gives the same bytes.
struct Recipe {
  std::string prompt;
  std::string negative_prompt;
  int64_t width = 0;   // px
  int64_t height = 0;  // px
  int64_t frames = 0;  // 4n+1
  double fps = 0;
  int64_t steps = 0;
  Solver solver = Solver::kUniPC;
  SigmaTable sigma_table = SigmaTable::kWan;
  double shift = 1.0;
  GuidanceScale guidance_scale;
  std::optional<double> boundary;  // absent for single-expert models
  uint64_t seed = 0;
  std::string latents_path;
  std::string preset;
  std::vector<double> t_list;  // as many as steps; empty: of the sigma table
  StepCacheOptions step_cache;
  std::string image_path, last_image_path;
  std::shared_ptr<const Picture> image, last_image;
  int64_t text_len = 512;  // padded prompt length
  std::string causal;      // a profile's name or file; "" = all frames at once
  std::vector<PromptAt> prompts_at;
  PromptChange prompt_change = PromptChange::kResetCross;
  SinkRope sink_rope = SinkRope::kAbsolute;
  CausalWindow causal_window;
};

// Where idle weights live. Block: the transformer's blocks are streamed in each step. Model: each
// component is in (device) memory only while it runs. None: everything stays.
enum class Offload { kAuto, kNone, kModel, kBlock };
enum class TextEncoderDevice { kAuto, kCpu, kCuda };
// Decoding the picture in overlapping tiles, which takes less memory and more work. Auto: when the
// whole does not fit the budget.
enum class VaeTiling { kAuto, kOn, kOff };

// Files or folders that stand in for parts of the model; "" = the model's own.
struct ComponentPaths {
  std::string transformer;      // the high-noise expert when there are two
  std::string transformer_low;  // the low-noise expert
  std::string text_encoder;
  std::string vae;
  std::string tokenizer;  // a SentencePiece model; with an empty model_path only tokenize() works
};

// A LoRA file of one expert, or of both.
struct LoraOption {
  std::string path;
  std::string expert;  // "high", "low"; "" = by the file's name, else both
  double strength = 1.0;
};

// How to run: where, in which precision, with how much memory; and what stands in for parts of the
// model.
struct EngineOptions {
  std::string model_path;  // a model folder or file, local or remote (s3://, https://)
  ComponentPaths components;
  std::vector<LoraOption> loras;
  bool lora_lenient = false;  // offending tensors of LoRA files are warnings
  bool ignore_extra = false;  // tensors that the model does not know are no error
  Device device = Device::kAuto;
  int device_index = 0;
  Dtype dtype = Dtype::kAuto;  // auto: bf16 where the CPU has it, else fp32
  Backend backend = Backend::kFused;
  std::string attention = "auto";  // self-attention: auto, cudnn, flash, own, own-int8, reference
  Quant quant = Quant::kAuto;
  int64_t int8_rotation = 256;  // 0, 64, 256
  QuantPreset quant_preset = QuantPreset::kFast;
  KvCache kv = KvCache::kAuto;
  bool force_causal = false;    // --causal with weights that nothing says were trained so
  bool profile = false;         // kernel times, FLOP and the memory curve go into reports
  bool trace = false;           // spans are recorded for Engine::write_trace
  bool condition_cache = true;  // prompts' keys and values are kept for later videos
  int num_threads = 0;          // 0 = all cores this process may use
  TextEncoderDevice text_encoder_device = TextEncoderDevice::kAuto;
  Offload offload = Offload::kAuto;
  VaeTiling vae_tiling = VaeTiling::kAuto;
  int64_t ram_budget_bytes = 0;        // of this process; 0 = what is free, less a reserve
  int64_t vram_budget_bytes = 0;       // of the device; 0 = what is free, less a reserve
  std::string cache_dir;               // blocks of remote models; "" = the user's cache folder
  int64_t cache_limit_bytes = 0;       // 0 = the default limit
  double remote_timeout_seconds = 30;  // one read of a remote model without progress
  std::string io;                      // "", "pread", "uring": how local weights are read (T2V_IO)
};

}  // namespace t2v
