// The table of `t2v calibrate-cache`: how the transformer's residuals shrink from step to step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/model.h"

namespace t2v::pipeline {

struct StepCacheTable {
  std::string model;       // for people
  std::string model_hash;  // of the transformers
  std::string solver, sigma_table;
  double shift = 0;
  int64_t boundary = 0;        // first step of the low-noise expert; the number of steps for none
  std::vector<double> cond;    // by step; 1 where an expert begins
  std::vector<double> uncond;  // empty: not guided

  [[nodiscard]] int64_t num_steps() const { return static_cast<int64_t>(cond.size()); }
};

// Names and shapes of the transformers' tensors, how they are stored, and the bytes of their first
// and last layer: other weights have another one, the same weights in another layout have the same.
std::string transformer_hash(const Model& model);

// "t2v-step-cache.json" in the model's folder; "" when it has none.
std::string default_table_path(const Model& model);

// The table at `path`, checked; the model's own is read from where the model is. Throws
// Error{kInput} for what is not a table, Error{kUsage} when there is none.
StepCacheTable read_step_cache_table(const std::string& path, const Model& model);
// Throws Error{kOutput}.
void write_step_cache_table(const std::string& path, const StepCacheTable& table);

// The conditional ratios of a run with another number of steps: those of the nearest place within
// each expert's own steps. boundary: first step of the low-noise expert. Throws Error{kUsage} when
// the table has no steps of an expert.
std::vector<double> stretch_ratios(const StepCacheTable& table, int64_t num_steps,
                                   int64_t boundary);

}  // namespace t2v::pipeline
