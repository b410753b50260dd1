#include "pipeline/condition_cache.h"

#include "core/check.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kTextBytes = int64_t{64} << 20;  // of the host: some forty prompts of UMT5-XXL
// In number too, so that memory stops growing early in a batch of prompts that never come again.
constexpr size_t kMaxTexts = 64;
constexpr size_t kMaxConditions = 128;  // of both experts
constexpr size_t kMaxTimes = 256;       // of both experts; the 14B model's take 140 KB

}  // namespace

std::string prompt_key(const std::vector<int64_t>& ids) {
  std::string key;
  for (const int64_t id : ids) key += core::str(id, ' ');
  return key;
}

ConditionCache::ConditionCache(std::string loras, bool wanted)
    : loras_(std::move(loras)),
      wanted_(wanted),
      texts_(wanted ? kTextBytes : 0, kMaxTexts),
      conditions_(0, kMaxConditions) {}

std::optional<ConditionCache::Text> ConditionCache::find_text(const std::string& prompt) {
  const std::lock_guard lock(texts_mutex_);
  const Text* found = texts_.find(prompt);
  return found != nullptr ? std::make_optional(*found) : std::nullopt;
}

void ConditionCache::keep_text(const std::string& prompt, const Text& text) {
  const std::lock_guard lock(texts_mutex_);
  texts_.insert(prompt, text, static_cast<int64_t>(text.rows.nbytes()));
}

std::string ConditionCache::name_of(Expert expert, const std::string& prompt,
                                    int64_t text_len) const {
  return core::str(expert_name(expert), '/', loras_, '/', text_len, '/', prompt);
}

std::shared_ptr<ConditionCache::Condition> ConditionCache::find(Expert expert,
                                                                const std::string& prompt,
                                                                int64_t text_len) {
  const auto* found = conditions_.find(name_of(expert, prompt, text_len));
  return found != nullptr ? *found : nullptr;
}

void ConditionCache::keep(Expert expert, const std::string& prompt, int64_t text_len,
                          std::shared_ptr<Condition> condition) {
  T2V_ASSERT(!condition->text.defined());  // all keys are made
  const int64_t bytes = condition->bytes();
  conditions_.insert(name_of(expert, prompt, text_len), std::move(condition), bytes);
}

const models::wan::TimeModulation* ConditionCache::find_time(Expert expert, double timestep) const {
  const auto found = times_.find({expert, timestep});
  return found != times_.end() ? &found->second : nullptr;
}

void ConditionCache::keep_time(Expert expert, double timestep,
                               const models::wan::TimeModulation& time) {
  if (!wanted_) return;
  if (times_.size() >= kMaxTimes) times_.clear();  // another schedule began
  times_[{expert, timestep}] = time;
}

int64_t ConditionCache::bytes() const {
  const std::lock_guard lock(texts_mutex_);
  return texts_.bytes() + conditions_.bytes();
}

void ConditionCache::set_limit(int64_t max_bytes) {
  conditions_.set_limit(wanted_ ? max_bytes : 0);
}

void ConditionCache::clear() {
  conditions_.clear();
  times_.clear();
}

}  // namespace t2v::pipeline
