// What to make (Request: as asked, Recipe: fully resolved) and how to run (EngineOptions).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace t2v {

enum class Solver { kUniPC, kEuler, kDpmpp };
enum class SigmaTable { kWan, kDiffusers };
enum class Device { kAuto, kCpu, kCuda };
enum class Dtype { kAuto, kFp32, kBf16, kFp16 };
enum class Backend { kFused, kReference };  // fused ops of our own, or their composed twins

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
};

// One number per expert, by name.
struct GuidanceScale {
  double high_noise = 1.0;
  double low_noise = 1.0;
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
  int64_t text_len = 512;  // padded prompt length
};

// How to run: nothing here changes what is asked for, only where and in which precision.
struct EngineOptions {
  std::string model_path;  // a model folder
  Device device = Device::kAuto;
  int device_index = 0;
  Dtype dtype = Dtype::kAuto;  // auto: bf16 where the CPU has it, else fp32
  Backend backend = Backend::kFused;
  int num_threads = 0;         // 0 = all cores this process may use
  std::string tokenizer_path;  // a SentencePiece model; with an empty model_path only
                               // tokenize() works
};

}  // namespace t2v
