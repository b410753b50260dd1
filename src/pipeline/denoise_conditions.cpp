#include "pipeline/denoise_conditions.h"

#include <algorithm>
#include <utility>

namespace t2v::pipeline {

using models::wan::Condition;
using models::wan::Expert;
using models::wan::Transformer;

Conditions ConditionBook::find(Expert expert, const TextEmbeddings& text, bool guided) const {
  const auto find_one = [&](const TextEmbedding& of) {
    return cache_.find(expert, of.key, text_len_);
  };
  Conditions found;
  found.cond = find_one(text.cond);
  found.cond_is_new = !found.cond;
  if (!guided) return found;
  found.uncond = find_one(text.uncond.value());
  found.uncond_is_new = !found.uncond;
  return found;
}

void ConditionBook::prepare(const Transformer& transformer, const TextEmbeddings& text, bool guided,
                            Conditions& conditions) {
  const auto make = [&](std::shared_ptr<Condition>& condition, bool& is_new,
                        const TextEmbedding& of) {
    if (!condition) {
      auto& shared = made_[of.key];
      if (!shared) {
        ++use_.key_misses;
        shared = std::make_shared<Condition>(transformer.make_condition(of.rows, text_len_));
        condition = shared;
        return;
      }
      condition = shared;
      is_new = false;
    }
    ++use_.key_hits;
    use_.saved_ms += condition->make_ms;
  };
  make(conditions.cond, conditions.cond_is_new, text.cond);
  if (guided) make(conditions.uncond, conditions.uncond_is_new, text.uncond.value());
}

void ConditionBook::keep(Expert expert, const TextEmbeddings& text, Conditions& conditions) {
  const auto keep_one = [&](const std::shared_ptr<Condition>& condition, const TextEmbedding& of) {
    use_.make_ms += condition->make_ms;
    cache_.keep(expert, of.key, text_len_, condition);
  };
  if (std::exchange(conditions.cond_is_new, false)) keep_one(conditions.cond, text.cond);
  if (std::exchange(conditions.uncond_is_new, false))
    keep_one(conditions.uncond, text.uncond.value());
}

void ConditionBook::leave(int64_t num_passes, Conditions& conditions) {
  for (const auto& condition : {conditions.cond, conditions.uncond}) {
    if (condition)
      use_.saved_ms +=
          condition->make_ms * static_cast<double>(std::max<int64_t>(0, num_passes - 1));
  }
  conditions = {};
}

void ConditionBook::end_phase() {
  use_.bytes = cache_.bytes();
  made_.clear();
}

}  // namespace t2v::pipeline
