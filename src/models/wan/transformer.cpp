#include "models/wan/transformer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/trace.h"

namespace t2v::models::wan {
namespace {

// Two sequences of 1024 tokens still gain (docs/benchmarks.md).
constexpr int64_t kMaxSharedTokens = 2048;

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

int64_t num_shared(int64_t num_tokens) noexcept {
  return std::max<int64_t>(1, kMaxSharedTokens / num_tokens);
}

std::vector<Lane> lanes_of(const at::Tensor& latents, const std::vector<Condition*>& conditions) {
  std::vector<Lane> lanes;
  for (Condition* condition : conditions) lanes.push_back({latents, condition});
  return lanes;
}

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

// Lanes that run through a block together.
struct Group {
  at::Tensor x;  // fp32 [B*L, C], the residual stream
  std::vector<Lane> lanes;
  std::vector<CausalCache*> caches;  // one per lane, or none
};

// Patches of equal latents are made once.
std::vector<Group> make_groups(const Embeddings& embeddings, const std::vector<Lane>& lanes,
                               int64_t num_tokens) {
  const auto limit = static_cast<size_t>(num_shared(num_tokens));
  std::vector<Group> groups;
  at::Tensor x;   // [L, C]
  at::Tensor of;  // the latents of x
  for (size_t begin = 0; begin < lanes.size(); begin += limit) {
    Group& group = groups.emplace_back();
    const size_t end = std::min(lanes.size(), begin + limit);
    std::vector<at::Tensor> parts;
    for (size_t i = begin; i < end; ++i) {
      if (!of.is_same(lanes[i].latents)) x = embeddings.patches(lanes[i].latents);
      of = lanes[i].latents;
      parts.push_back(x);
      group.lanes.push_back(lanes[i]);
      if (lanes[i].cache != nullptr) group.caches.push_back(lanes[i].cache);
    }
    const bool again = end < lanes.size() && of.is_same(lanes[end].latents);
    group.x = parts.size() > 1 ? at::cat(parts) : again ? x.clone() : x;
  }
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

// Held rows have their own modulation here too.
at::Tensor head_rows(const Head& head, const at::Tensor& x, const Transformer::Pass& pass) {
  if (pass.held_time == nullptr) return head(x, pass.time.head);
  const int64_t tokens = pass.rope.num_tokens();
  std::vector<at::Tensor> parts;
  for (const RowRange& range : row_ranges(x.size(0), tokens, pass.held_tokens)) {
    const bool held = range.begin % tokens < pass.held_tokens;
    parts.push_back(head(x.narrow(0, range.begin, range.end - range.begin),
                         held ? pass.held_time->head : pass.time.head));
  }
  return at::cat(parts);
}

// What the blocks have added, for the lanes that want it.
void keep_residuals(const Embeddings& embeddings, const Group& group) {
  const auto rows = group.x.chunk(static_cast<int64_t>(group.lanes.size()));
  for (size_t i = 0; i < group.lanes.size(); ++i) {
    const Lane& lane = group.lanes[i];
    if (lane.residual != nullptr) *lane.residual = rows[i] - embeddings.patches(lane.latents);
  }
}

}  // namespace

std::vector<at::Tensor> Transformer::forward(const Pass& pass, const std::vector<Lane>& lanes,
                                             const Hooks& hooks) {
  for (const Lane& lane : lanes)
    T2V_ASSERT(lane.latents.scalar_type() == at::kFloat &&
               lane.latents.size(0) == spec_.in_channels);
  std::vector<Group> groups = make_groups(embeddings_, lanes, pass.rope.num_tokens());
  BlockContext context;
  context.rope = &pass.rope;
  context.time = pass.time.blocks;
  context.attention = pass.attention;
  if (pass.held_time != nullptr) {
    context.held_time = pass.held_time->blocks;
    context.held_tokens = pass.held_tokens;
  }
  for (int64_t i = 0; i < spec_.num_blocks; ++i) {
    // Every group runs before the block goes: one fetch serves all lanes.
    const core::TraceSpan span("block", "block", i);
    const Block& block = pool_.get(i, hooks.around_load);
    for (Group& group : groups) {
      context.prompts.clear();
      context.key_bias.clear();
      for (const Lane& lane : group.lanes) {
        make_keys(block, static_cast<size_t>(i), spec_.num_blocks, *lane.condition);
        context.prompts.push_back(&lane.condition->keys[static_cast<size_t>(i)]);
        context.key_bias.push_back(lane.condition->key_bias);
      }
      context.caches = group.caches;
      context.layer = i;
      if (pass.only_keys && i + 1 == spec_.num_blocks)
        block.write_keys(group.x, context);
      else
        block.run(group.x, context);
      if (hooks.after_block) hooks.after_block(i, group.x);
      hooks.between_blocks();
    }
    pool_.done(i, pass.again);
    if (successor_ != nullptr && pass.again == BlockPool::Again::kNever) successor_->allow(1);
  }
  std::vector<at::Tensor> outputs;
  if (pass.only_keys) return outputs;
  for (Group& group : groups) {
    const at::Tensor& latents = group.lanes[0].latents;
    const auto num_sequences = static_cast<int64_t>(group.lanes.size());
    keep_residuals(embeddings_, group);
    const at::Tensor rows = head_rows(head_, group.x, pass);
    for (const at::Tensor& tokens : rows.chunk(num_sequences))
      outputs.push_back(
          unpatchify(tokens, spec_, latents.size(1), latents.size(2), latents.size(3)));
    group.x = at::Tensor();
  }
  return outputs;
}

at::Tensor Transformer::predict(const Pass& pass, const at::Tensor& latents,
                                const at::Tensor& residual) const {
  const at::Tensor x = embeddings_.patches(latents) + residual;
  return unpatchify(head_rows(head_, x, pass), spec_, latents.size(1), latents.size(2),
                    latents.size(3));
}

}  // namespace t2v::models::wan
