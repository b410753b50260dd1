#include "models/wan/transformer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace t2v::models::wan {
namespace {

constexpr int64_t kMaxSharedTokens = 1024;

class Stopwatch {
 public:
  [[nodiscard]] double ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
};

// Runs before any weight is read, so that a wrong file is named at once.
const weights::WeightMap& checked(const weights::WeightMap& map, const TransformerSpec& spec) {
  weights::Expectations expected = Transformer::expectations(spec);
  expected.ignore_extra = true;  // what is read must be there; the rest is open_model's to judge
  map.check(expected);
  return map;
}

}  // namespace

bool runs_shared(int64_t num_tokens) noexcept { return num_tokens <= kMaxSharedTokens; }

weights::Expectations Transformer::expectations(const TransformerSpec& spec) {
  weights::Expectations expected;
  Embeddings::expect(spec, expected);
  for (int64_t i = 0; i < spec.num_blocks; ++i) Block::expect(spec, i, expected);
  Head::expect(spec, expected);
  return expected;
}

BlockPlan resident_plan(const TransformerSpec& spec) {
  BlockPlan plan;
  plan.homes.assign(static_cast<size_t>(spec.num_blocks), BlockHome::kResident);
  return plan;
}

Transformer::Transformer(const TransformerSpec& spec, std::shared_ptr<const weights::WeightMap> map,
                         const BlockPlan& plan, at::ScalarType dtype, at::Device device)
    : spec_(spec),
      map_(std::move(map)),
      keep_prologue_(plan.keep_key_weights),
      embeddings_(spec, checked(*map_, spec), dtype, device),
      head_(spec, *map_, device),
      pool_(spec, map_, plan, dtype, device) {}

void Transformer::begin_prompt(const PromptNeeds& needs) {
  if ((needs.condition || needs.times) && !embeddings_.has_prologue())
    embeddings_.load_prologue(*map_);
  if (!pool_.is_loading()) pool_.begin_prompt(needs.keys());
}

void Transformer::end_prologue() noexcept {
  if (!keep_prologue_) embeddings_.drop_prologue();
}

void Transformer::take_over_from(Transformer& leaving, PromptKeys keys) {
  pool_.load_behind_another(keys);
  leaving.successor_ = &pool_;
}

void Transformer::take_all_room() noexcept { pool_.allow(std::numeric_limits<int64_t>::max()); }

int64_t Condition::bytes() const {
  int64_t sum = key_bias.defined() ? static_cast<int64_t>(key_bias.nbytes()) : 0;
  for (const CrossKeys& pair : keys) sum += static_cast<int64_t>(pair.k.nbytes() + pair.v.nbytes());
  return sum;
}

Condition Transformer::make_condition(const at::Tensor& text_embeddings, int64_t text_len,
                                      TextPadding padding) const {
  const int64_t n = text_embeddings.size(0);
  T2V_ASSERT(n <= text_len && text_embeddings.size(1) == spec_.text_size);
  const Stopwatch watch;
  const int64_t pads = text_len - n;
  const int64_t pad_rows = padding == TextPadding::kFolded ? std::min<int64_t>(pads, 1) : pads;
  const at::Tensor rows =
      at::cat({text_embeddings, at::zeros({pad_rows, spec_.text_size}, text_embeddings.options())});
  Condition condition;
  condition.text = embeddings_.text(rows);
  if (pads > pad_rows) {
    condition.key_bias = at::zeros({n + pad_rows}, at::kFloat);
    condition.key_bias[n] = std::log(static_cast<double>(pads));
    condition.key_bias = condition.key_bias.to(condition.text.device());
  }
  condition.make_ms = watch.ms();
  return condition;
}

namespace {

// Conditions that run through a block together.
struct Group {
  at::Tensor x;  // fp32 [B*L, C], the residual stream
  std::vector<Condition*> conditions;
  std::vector<CausalCache*> caches;  // one per condition, or none
};

// Gives each condition its cache.
void share_caches(const std::vector<CausalCache*>& caches, std::vector<Group>& groups) {
  size_t next = 0;
  for (Group& group : groups) {
    for (size_t i = 0; i < group.conditions.size(); ++i) group.caches.push_back(caches.at(next++));
  }
}

std::vector<Group> make_groups(const at::Tensor& x, const std::vector<Condition*>& conditions,
                               int64_t num_tokens) {
  if (runs_shared(num_tokens))
    return {{x.repeat({static_cast<int64_t>(conditions.size()), 1}), conditions, {}}};
  std::vector<Group> groups;
  for (Condition* condition : conditions)
    groups.push_back({groups.empty() ? x : x.clone(), {condition}, {}});
  return groups;
}

// The prompt's keys of block `index`, made in its first pass.
void make_keys(const Block& block, size_t index, int64_t num_blocks, Condition& condition) {
  if (condition.keys.size() > index) return;
  T2V_ASSERT(condition.keys.size() == index && block.has_key_weights());
  const Stopwatch watch;
  condition.keys.push_back(block.make_keys(condition.text));
  condition.make_ms += watch.ms();
  if (static_cast<int64_t>(condition.keys.size()) == num_blocks) condition.text = at::Tensor();
}

}  // namespace

std::vector<at::Tensor> Transformer::forward(const Pass& pass,
                                             const std::vector<Condition*>& conditions,
                                             const Hooks& hooks) {
  const at::Tensor& latents = pass.latents;
  T2V_ASSERT(latents.scalar_type() == at::kFloat && latents.size(0) == spec_.in_channels);
  std::vector<Group> groups;
  {
    const at::Tensor x = embeddings_.patches(latents);  // [L, C]
    groups = make_groups(x, conditions, pass.rope.num_tokens());
    if (pass.causal != nullptr) share_caches(pass.causal->caches, groups);
  }
  const bool only_keys = pass.causal != nullptr && pass.causal->only_keys;
  BlockContext context;
  context.rope = &pass.rope;
  context.time = pass.time.blocks;
  context.attention = pass.attention;
  for (int64_t i = 0; i < spec_.num_blocks; ++i) {
    // Every group runs before the block goes: one fetch serves all branches.
    const Block& block = pool_.get(i, hooks.around_load);
    for (Group& group : groups) {
      context.prompts.clear();
      context.key_bias.clear();
      for (Condition* condition : group.conditions) {
        make_keys(block, static_cast<size_t>(i), spec_.num_blocks, *condition);
        context.prompts.push_back(&condition->keys[static_cast<size_t>(i)]);
        context.key_bias.push_back(condition->key_bias);
      }
      context.caches = group.caches;
      context.layer = i;
      if (only_keys && i + 1 == spec_.num_blocks)
        block.write_keys(group.x, context);
      else
        block.run(group.x, context);
      hooks.between_blocks();
    }
    pool_.done(i, pass.again);
    if (successor_ != nullptr && pass.again == BlockPool::Again::kNever) successor_->allow(1);
  }
  std::vector<at::Tensor> outputs;
  if (only_keys) return outputs;
  for (Group& group : groups) {
    const auto num_sequences = static_cast<int64_t>(group.conditions.size());
    for (const at::Tensor& tokens : head_(group.x, pass.time.head).chunk(num_sequences))
      outputs.push_back(
          unpatchify(tokens, spec_, latents.size(1), latents.size(2), latents.size(3)));
    group.x = at::Tensor();
  }
  return outputs;
}

}  // namespace t2v::models::wan
