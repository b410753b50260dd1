// What the weights of an expert cost a run while it is at work: loading time, bytes, stalls. One
// bookkeeping for every sampling loop.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "models/wan/transformer.h"
#include "pipeline/run.h"

namespace t2v::pipeline {

class WeightUse {
 public:
  explicit WeightUse(Run& run) : run_(run) {}

  // Weights come in: time and bytes are those of the loading stage.
  void load(const std::function<void()>& work);
  // Whether loading from now on is what a change of experts costs.
  void set_switching(bool switching) noexcept { switching_ = switching; }
  // Spent in load() since the last call.
  [[nodiscard]] double take_load_ms() noexcept { return std::exchange(load_ms_, 0.0); }

  // `transformer` is at work until end(). expert: for progress; "" for single-expert models.
  void begin(const models::wan::Transformer& transformer, std::string expert);
  // Of its passes: looks for cancellation between blocks, counts what loads.
  [[nodiscard]] models::wan::Transformer::Hooks hooks();
  // What it has cost goes into the report.
  void end();

 private:
  [[nodiscard]] int64_t bytes_read() const {
    return transformer_->weights().bytes_read() - bytes_before_;
  }

  Run& run_;
  bool switching_ = false;
  double load_ms_ = 0;
  const models::wan::Transformer* transformer_ = nullptr;
  std::string expert_;
  models::wan::PoolCounts counts_before_;
  int64_t bytes_before_ = 0;
  int64_t loaded_bytes_ = 0;  // in the first pass
};

}  // namespace t2v::pipeline
