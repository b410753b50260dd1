#include "pipeline/weight_use.h"

#include <utility>

namespace t2v::pipeline {

void WeightUse::load(const std::function<void()>& work) {
  const double begin = run_.elapsed_ms();
  run_.in_stage(Stage::kLoadTransformer, work);
  const double spent = run_.elapsed_ms() - begin;
  load_ms_ += spent;
  if (switching_) run_.report().weights.expert_switch_ms += spent;
}

void WeightUse::begin(const models::wan::Transformer& transformer, std::string expert) {
  transformer_ = &transformer;
  expert_ = std::move(expert);
  bytes_before_ = transformer.weights().bytes_read();
  counts_before_ = transformer.counts();
  loaded_bytes_ = 0;
}

models::wan::Transformer::Hooks WeightUse::hooks() {
  return {.between_blocks = [this] { run_.check_cancelled(); },
          .around_load =
              [this](int64_t index, const std::function<void()>& work) {
                load(work);
                loaded_bytes_ = bytes_read();
                run_.tell({.stage = Stage::kLoadTransformer,
                           .done = index + 1,
                           .total = transformer_->spec().num_blocks,
                           .expert = expert_,
                           .bytes_done = loaded_bytes_,
                           .bytes_total = transformer_->weights().checkpoint().bytes_total()});
              }};
}

void WeightUse::end() {
  const models::wan::PoolCounts now = transformer_->counts();
  const models::wan::PoolCounts& before = counts_before_;
  WeightTraffic& traffic = run_.report().weights;
  const int64_t bytes = bytes_read();
  traffic.bytes += bytes;
  traffic.stall_ms += static_cast<double>(now.stream.stall_ns - before.stream.stall_ns) * 1e-6;
  traffic.streamed_blocks += now.streamed_blocks - before.streamed_blocks;
  run_.add_read_time(now.stream.bytes - before.stream.bytes,
                     now.stream.busy_ns - before.stream.busy_ns);
  run_.add_bytes_read(Stage::kLoadTransformer, loaded_bytes_);
  run_.add_bytes_read(Stage::kDenoise, bytes - loaded_bytes_);
  run_.report().conditions.bytes_not_read += now.key_bytes_skipped - before.key_bytes_skipped;
  transformer_ = nullptr;
}

}  // namespace t2v::pipeline
