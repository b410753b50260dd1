#include "models/wan/causal_cache.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "ops/rope.h"

namespace t2v::models::wan {
namespace {

SlotTable make_slots(const CacheShape& shape) {
  return shape.int8 ? SlotTable(shape.past_frames(), 0) : SlotTable(shape.window, shape.sinks);
}

// Of k and v, in frames.
int64_t num_wide_slots(const CacheShape& shape) {
  return shape.int8 ? shape.sinks + shape.largest_chunk : shape.window;
}

ops::Int8KeyValues narrow_rows(const ops::Int8KeyValues& all, int64_t first, int64_t rows) {
  return {.k = all.k.narrow(1, first, rows),
          .v = all.v.narrow(1, first, rows),
          .k_scale = all.k_scale.narrow(1, first, rows),
          .v_scale = all.v_scale.narrow(1, first, rows)};
}

// Slot `from` to slot `to`, of `rows` rows each.
void move_rows(const at::Tensor& x, const SlotTable::Move& move, int64_t rows) {
  x.narrow(1, move.to * rows, rows).copy_(x.narrow(1, move.from * rows, rows));
}

}  // namespace

int64_t cache_bytes(const CacheShape& s, int64_t element_bytes) {
  const int64_t row = s.num_heads * s.head_size;
  int64_t rows = 2 * num_wide_slots(s) * row * element_bytes;
  if (s.relative_sinks) rows += s.sinks * row * element_bytes;
  if (s.int8)
    rows +=
        2 * s.past_frames() * s.num_heads * (s.head_size + 2 * ops::kv_scale_groups(s.head_size));
  return s.num_layers * s.frame_tokens * rows;
}

CausalCache::CausalCache(const CacheShape& shape, at::ScalarType dtype, at::Device device)
    : shape_(shape), slots_(make_slots(shape)), kept_(slots_) {
  T2V_ASSERT(shape.past_frames() >= 0 && shape.sinks + shape.largest_chunk <= shape.window);
  const auto rows = [&](int64_t frames, int64_t channels, at::ScalarType type) {
    return at::empty({shape.num_heads, tokens(frames), channels},
                     at::TensorOptions().dtype(type).device(device));
  };
  const int64_t d = shape.head_size;
  const int64_t groups = ops::kv_scale_groups(d);
  for (int64_t i = 0; i < shape.num_layers; ++i) {
    Layer layer;
    layer.k = rows(num_wide_slots(shape), d, dtype);
    layer.v = rows(num_wide_slots(shape), d, dtype);
    if (shape.relative_sinks) layer.sink_keys = rows(shape.sinks, d, dtype);
    if (shape.int8) {
      const int64_t past = shape.past_frames();
      layer.past = {.k = rows(past, d, at::kChar),
                    .v = rows(past, d, at::kChar),
                    .k_scale = rows(past, groups, at::kHalf),
                    .v_scale = rows(past, groups, at::kHalf)};
    }
    layers_.push_back(std::move(layer));
  }
}

void CausalCache::begin_chunk(int64_t first, int64_t count) {
  T2V_ASSERT(!keeping_ && count > 0 && count <= shape_.largest_chunk);
  has_chunk_ = true;
  first_ = first;
  count_ = count;
  if (shape_.int8) {
    // Behind the sinks, or as the sinks: frame f < sinks lies in slot f.
    const int64_t begin = std::min(first, shape_.sinks);
    chunk_slots_.clear();
    for (int64_t i = 0; i < count; ++i) chunk_slots_.push_back(begin + i);
    used_ = begin + count;
  } else {
    chunk_slots_ = slots_.enter(first, count);
    used_ = slots_.used();
  }
  turn_sinks();
}

void CausalCache::turn_sinks() {
  if (!shape_.relative_sinks || shape_.sinks == 0) return;
  int64_t oldest = slots_.first_in_window();
  if (oldest < 0) oldest = std::max(first_, shape_.sinks);  // only the chunk is in the window
  const int64_t turn = oldest - shape_.sinks;
  if (turn == sink_turn_) return;
  sink_turn_ = turn;
  for (Layer& layer : layers_)
    ops::rotate_frames(layer.sink_keys, turn, layer.k.narrow(1, 0, tokens(shape_.sinks)));
}

void CausalCache::store(Layer& layer, const at::Tensor& k, const at::Tensor& v) const {
  T2V_ASSERT(k.size(1) == tokens(count_) && v.sizes() == k.sizes());
  const int64_t n = shape_.frame_tokens;
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t slot = chunk_slots_[static_cast<size_t>(i)];
    layer.k.narrow(1, slot * n, n).copy_(k.narrow(1, i * n, n));
    layer.v.narrow(1, slot * n, n).copy_(v.narrow(1, i * n, n));
    if (keeping_ && shape_.relative_sinks && first_ + i < shape_.sinks)
      layer.sink_keys.narrow(1, (first_ + i) * n, n).copy_(k.narrow(1, i * n, n));
  }
}

void CausalCache::keep(Layer& layer) const {
  if (!shape_.int8) return;
  const int64_t n = shape_.frame_tokens;
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t slot = keep_slots_[static_cast<size_t>(i)];
    if (slot < 0) continue;
    const int64_t row = chunk_slots_[static_cast<size_t>(i)] * n;
    const ops::Int8KeyValues place = narrow_rows(layer.past, slot * n, n);
    ops::quantise_keys(layer.k.narrow(1, row, n), place.k, place.k_scale);
    ops::quantise_keys(layer.v.narrow(1, row, n), place.v, place.v_scale);
  }
}

at::Tensor CausalCache::attend(int64_t index, ops::QkvHeads heads, ops::AttentionBackend by) {
  Layer& layer = layers_.at(static_cast<size_t>(index));
  store(layer, heads.k, heads.v);
  heads.k = heads.v = at::Tensor();
  const ops::Int8KeyValues past = window(index);
  const bool has_past = past.k.defined() && past.k.size(1) > 0;
  at::Tensor mixed = ops::cached_attention(std::move(heads.q), keys(index), values(index),
                                           has_past ? &past : nullptr, by);
  if (keeping_) keep(layer);
  return mixed;
}

void CausalCache::write(int64_t index, const at::Tensor& k, const at::Tensor& v) {
  Layer& layer = layers_.at(static_cast<size_t>(index));
  store(layer, k, v);
  if (keeping_) keep(layer);
}

void CausalCache::begin_keep() {
  keeping_ = true;
  if (!shape_.int8) return;
  // What this pass itself sees stays as it is until each layer has seen it.
  kept_ = slots_;
  const int64_t sinks = std::clamp<int64_t>(shape_.sinks - first_, 0, count_);
  keep_slots_.assign(static_cast<size_t>(sinks), -1);
  for (const int64_t slot : kept_.enter(first_ + sinks, count_ - sinks))
    keep_slots_.push_back(slot);
}

void CausalCache::end_keep() {
  T2V_ASSERT(keeping_);
  keeping_ = false;
  has_chunk_ = false;
  if (shape_.int8) slots_ = kept_;
}

void CausalCache::keep_last(int64_t count) {
  T2V_ASSERT(!keeping_);
  const int64_t n = shape_.frame_tokens;
  for (const SlotTable::Move& move : slots_.keep_last(count)) {
    for (Layer& layer : layers_) {
      if (shape_.int8) {
        for (const at::Tensor* x :
             {&layer.past.k, &layer.past.v, &layer.past.k_scale, &layer.past.v_scale})
          move_rows(*x, move, n);
      } else {
        move_rows(layer.k, move, n);
        move_rows(layer.v, move, n);
      }
    }
  }
}

std::vector<int64_t> CausalCache::frames() const {
  std::vector<int64_t> frames = slots_.frames();
  if (shape_.int8) {
    const int64_t sinks = std::min(shape_.sinks, first_ + count_);
    for (int64_t frame = 0; frame < sinks; ++frame) frames.push_back(frame);
  }
  std::sort(frames.begin(), frames.end());
  return frames;
}

at::Tensor CausalCache::keys(int64_t layer) const {
  return layers_.at(static_cast<size_t>(layer)).k.narrow(1, 0, tokens(used_));
}

at::Tensor CausalCache::values(int64_t layer) const {
  return layers_.at(static_cast<size_t>(layer)).v.narrow(1, 0, tokens(used_));
}

ops::Int8KeyValues CausalCache::window(int64_t layer) const {
  if (!shape_.int8) return {};
  return narrow_rows(layers_.at(static_cast<size_t>(layer)).past, 0, tokens(slots_.used()));
}

}  // namespace t2v::models::wan
