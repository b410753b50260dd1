// Reads one component, a few rows at a time, and writes it with int8 linear layers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pipeline/quantize_journal.h"
#include "pipeline/quantize_plan.h"
#include "t2v/progress.h"
#include "t2v/quantize.h"
#include "weights/lora.h"
#include "weights/weight_map.h"

namespace t2v::pipeline {

struct ComponentJob {
  const weights::WeightMap& map;
  const weights::LoraSet* loras;  // null: none
  const ComponentPlan& plan;
  std::string folder;  // of the model
  const CancelToken& cancel;
  // Bytes of the source that are done since the last call.
  std::function<void(int64_t bytes)> on_bytes;
};

struct ComponentResult {
  std::vector<QuantizedLayer> layers;  // by name
  QuantizedFile file;
  int64_t bytes_read = 0;
  int64_t bytes_written = 0;
  double read_seconds = 0;  // waiting for the source
};

// Does what the journal does not have. Throws Error{kModel, kRemote, kOutput, kCancelled, kUsage}.
ComponentResult quantize_component(const ComponentJob& job, QuantizeJournal& journal);

// Bytes of the source that an earlier run has done.
int64_t bytes_done(const weights::WeightMap& map, const ComponentPlan& plan,
                   const QuantizeJournal& journal);
// Bytes of a tensor in the source, its scale included.
int64_t source_bytes(const weights::WeightMap& map, const std::string& name);

}  // namespace t2v::pipeline
