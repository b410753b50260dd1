// Self-attention keys and values of the latent frames that a causal transformer has made: what the
// frames of the next chunk look at.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/wan/slot_table.h"
#include "ops/attention.h"
#include "ops/backend.h"
#include "ops/kv_attention.h"

namespace t2v::models::wan {

struct CacheShape {
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t head_size = 0;
  int64_t frame_tokens = 0;  // of one latent frame
  int64_t window = 0;        // latent frames that attention sees: sinks, past and current chunk
  int64_t sinks = 0;         // the first frames of the video, which stay
  int64_t chunk = 0;         // frames of every chunk but the first
  int64_t largest_chunk = 0;
  bool int8 = false;            // the past in int8; sinks and the current chunk stay 16-bit
  bool relative_sinks = false;  // sinks always appear right before the oldest frame of the window

  [[nodiscard]] int64_t past_frames() const { return window - sinks - chunk; }
};

// What a cache of one sequence takes, all layers together.
int64_t cache_bytes(const CacheShape& shape, int64_t element_bytes);

// The cache of one sequence (a prompt or the negative prompt). Chunk after chunk: begin_chunk, any
// number of passes that call attend() for each layer, then begin_keep, one pass whose keys and
// values stay, end_keep. Memory is taken at once and never grows; nothing is moved when the window
// advances. Use by one thread.
class CausalCache {
 public:
  CausalCache(const CacheShape& shape, at::ScalarType dtype, at::Device device);

  // Frames first..first+count-1: their passes follow. The oldest frames beyond the window go.
  void begin_chunk(int64_t first, int64_t count);
  // heads: q, k, v [N, count*frame_tokens, D] of the current chunk, keys rotated by their own
  // frame's index. What its queries gather from sinks, past and chunk: [L, N*D].
  [[nodiscard]] at::Tensor attend(int64_t layer, ops::QkvHeads heads, ops::AttentionBackend by);
  // Only writes: for the last layer of the pass that stays.
  void write(int64_t layer, const at::Tensor& k, const at::Tensor& v);

  void begin_keep();
  void end_keep();
  // Whether these frames have begun and are not kept yet.
  [[nodiscard]] bool is_current(int64_t first, int64_t count) const noexcept {
    return has_chunk_ && first == first_ && count == count_;
  }

  // Forgets all but the sinks and the last `count` frames (between chunks).
  void keep_last(int64_t count);

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  // Latent frames that the next chunk will see, oldest first, sinks included; between chunks.
  [[nodiscard]] std::vector<int64_t> frames() const;
  // The 16-bit keys in use, [N, S, D]; with int8 the window's beside them. For tests.
  [[nodiscard]] at::Tensor keys(int64_t layer) const;
  [[nodiscard]] at::Tensor values(int64_t layer) const;
  [[nodiscard]] ops::Int8KeyValues window(int64_t layer) const;

 private:
  struct Layer {
    at::Tensor k, v;          // [N, slots*n, D]
    at::Tensor sink_keys;     // [N, sinks*n, D], as they were written; relative_sinks
    ops::Int8KeyValues past;  // [N, past_frames*n, D]; int8
  };
  [[nodiscard]] int64_t tokens(int64_t frames) const { return frames * shape_.frame_tokens; }
  void turn_sinks();
  void store(Layer& layer, const at::Tensor& k, const at::Tensor& v) const;
  void keep(Layer& layer) const;

  CacheShape shape_;
  SlotTable slots_;  // of k and v; with int8 of `past`
  std::vector<Layer> layers_;
  int64_t first_ = 0;  // of the current chunk
  int64_t count_ = 0;
  std::vector<int64_t> chunk_slots_;  // in k and v, by frame of the chunk
  int64_t used_ = 0;                  // slots of k and v that are visible
  bool has_chunk_ = false;
  bool keeping_ = false;
  std::vector<int64_t> keep_slots_;  // in `past`, by frame of the chunk; -1: does not stay
  SlotTable kept_;                   // `slots_` when the chunk has been kept; int8
  int64_t sink_turn_ = 0;            // frames by which the sinks have been rotated
};

}  // namespace t2v::models::wan
