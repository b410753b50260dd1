// What sizes of video this machine is good for: the presets preview, standard and high, planned for
// real models.
#pragma once

#include <string>
#include <vector>

#include "t2v/machine.h"
#include "t2v/request.h"

namespace t2v::cli {

struct Tier {
  std::string preset;   // "preview", "standard", "high"
  std::string model;    // for people
  std::string device;   // "CPU, 2 threads, bf16"
  std::string quant;    // "none", "int8"; "" = it does not fit
  std::string problem;  // why it does not fit; "" = it does
  int64_t width = 0, height = 0, frames = 0, steps = 0;
  double minutes = 0;  // estimate; 0 = none
};

// How large a transformer computes: for estimates.
struct ModelShape {
  double parameters = 0;  // of one expert
  double width = 0;
  double blocks = 0;
  int64_t token_px = 16;  // pixels of a token, each way
};

// Minutes of all steps at a share of the machine's peak that is common for such models.
double estimated_minutes(const Recipe& recipe, const ModelShape& shape, double peak_flop_per_s);

// options.model_path: a model of the user's, or "": then models of published shapes without files.
std::vector<Tier> plan_tiers(const EngineOptions& options, const MachineFacts& facts);

// "good", "slow", "too slow", "no"; "fits" without an estimate.
const char* tier_verdict(const Tier& tier) noexcept;

}  // namespace t2v::cli
