// What belongs to a prompt and not to a step, kept for the next videos of the process: text
// embeddings, cross-attention keys and values, modulation of timesteps (specs: kv-cache, part A).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/wan/experts.h"
#include "pipeline/recently_used.h"

namespace t2v::pipeline {

// A prompt's name in the cache: its token ids.
std::string prompt_key(const std::vector<int64_t>& ids);

// One engine's, hence of one set of weights: a model and its LoRAs. Texts may come from any thread,
// the rest is of one.
class ConditionCache {
 public:
  using Condition = models::wan::Condition;
  using Expert = models::wan::Expert;

  // loras: names the LoRA set. wanted: false finds nothing and keeps nothing.
  ConditionCache(std::string loras, bool wanted);

  // Text embeddings, fp32 [n, C] in host memory, and what it took to make them.
  struct Text {
    at::Tensor rows;
    double make_ms = 0;
  };
  [[nodiscard]] std::optional<Text> find_text(const std::string& prompt);
  void keep_text(const std::string& prompt, const Text& text);

  // A condition whose keys are all made. text_len: of the padded prompt. Null when it is not there.
  [[nodiscard]] std::shared_ptr<Condition> find(Expert expert, const std::string& prompt,
                                                int64_t text_len);
  void keep(Expert expert, const std::string& prompt, int64_t text_len,
            std::shared_ptr<Condition> condition);

  [[nodiscard]] const models::wan::TimeModulation* find_time(Expert expert, double timestep) const;
  void keep_time(Expert expert, double timestep, const models::wan::TimeModulation& time);

  // Of conditions; gives up what is above.
  void set_limit(int64_t max_bytes);
  [[nodiscard]] int64_t bytes() const;
  // Whatever lies on the device.
  void clear();

 private:
  [[nodiscard]] std::string name_of(Expert expert, const std::string& prompt,
                                    int64_t text_len) const;

  std::string loras_;
  bool wanted_;
  mutable std::mutex texts_mutex_;
  RecentlyUsed<Text> texts_;
  RecentlyUsed<std::shared_ptr<Condition>> conditions_;
  std::map<std::pair<Expert, double>, models::wan::TimeModulation> times_;
};

}  // namespace t2v::pipeline
