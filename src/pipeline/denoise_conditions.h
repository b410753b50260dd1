// Prompts as the expert at work sees them: found in the cache, or made once for all videos of a
// prompt, and what that has cost.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "models/wan/transformer.h"
#include "pipeline/condition_cache.h"
#include "pipeline/text_stage.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

// Of one video. Null: not made yet; uncond also: not wanted.
struct Conditions {
  std::shared_ptr<models::wan::Condition> cond, uncond;
  bool cond_is_new = false, uncond_is_new = false;  // the cache does not have them
};

// The bookkeeping of videos that take their steps together. What it refers to must stay.
class ConditionBook {
 public:
  ConditionBook(ConditionCache& cache, ConditionUse& use, int64_t text_len)
      : cache_(cache), use_(use), text_len_(text_len) {}

  // What an expert finds in the cache.
  [[nodiscard]] Conditions find(models::wan::Expert expert, const TextEmbeddings& text,
                                bool guided) const;
  // Fills what is null: one from the cache is ready; a new one gets its keys in the first pass, and
  // videos of a prompt share it.
  void prepare(const models::wan::Transformer& transformer, const TextEmbeddings& text, bool guided,
               Conditions& conditions);
  // Behind the pass that made keys: from here on the cache may have them, and steps that follow
  // save what they took.
  void keep(models::wan::Expert expert, const TextEmbeddings& text, Conditions& conditions);
  // The expert leaves after so many passes: what a video's have saved is counted, and they go.
  void leave(int64_t num_passes, Conditions& conditions);
  // Behind the last video that leaves.
  void end_phase();

 private:
  ConditionCache& cache_;
  ConditionUse& use_;
  int64_t text_len_;
  std::map<std::string, std::shared_ptr<models::wan::Condition>> made_;  // in this phase, by prompt
};

}  // namespace t2v::pipeline
