// How long operations take and how much they compute, by name: for --profile. A steady clock on the
// CPU, events of the queue on a device, read when they are long done.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "core/trace.h"

namespace t2v::ops {

struct OpTotal {
  int64_t calls = 0;
  double ms = 0;
  double flop = 0;
};

// One thread at a time. Operations inside others are part of them and not counted again.
class OpTimer {
 public:
  OpTimer();
  OpTimer(const OpTimer&) = delete;
  OpTimer& operator=(const OpTimer&) = delete;
  ~OpTimer();

  // A place for the sums of one part of the run: a stage, a step.
  [[nodiscard]] int new_bin();
  // Operations of this thread count for `timer` and the bin while this lives; null: for none.
  class Use {
   public:
    Use(OpTimer* timer, int bin) noexcept;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    OpTimer* outer_timer_;
    int outer_bin_;
  };

  // Waits for the device, so that the sums hold everything.
  void settle();
  [[nodiscard]] const std::map<std::string_view, OpTotal>& totals() const noexcept {
    return totals_;
  }
  [[nodiscard]] const OpTotal& bin(int index) const { return bins_.at(static_cast<size_t>(index)); }

 private:
  friend class TimedOp;
  struct OnDevice;  // an operation whose events are not read yet

  void add(const char* name, int bin, double ms, double flop);
  void add_on_device(std::unique_ptr<OnDevice> op);
  void read_oldest();

  std::map<std::string_view, OpTotal> totals_;
  std::vector<OpTotal> bins_;
  std::deque<std::unique_ptr<OnDevice>> pending_;
  std::vector<std::unique_ptr<OnDevice>> idle_;  // events to be used again
};

// One operation, from construction to destruction: counted by the thread's timer if there is one,
// and a span of the trace. name must stay. flop: multiplications and additions of matrix products
// and convolutions; elementwise work counts as none.
class TimedOp {
 public:
  TimedOp(const char* name, const at::Tensor& where, double flop = 0);
  TimedOp(const TimedOp&) = delete;
  TimedOp& operator=(const TimedOp&) = delete;
  ~TimedOp();

 private:
  core::TraceSpan span_;
  OpTimer* timer_ = nullptr;  // null: not counted
  const char* name_;
  int bin_ = 0;
  double flop_;
  int64_t begin_ns_ = 0;
  std::unique_ptr<OpTimer::OnDevice> on_device_;
};

// Of x [rows, in] times W [in, out], and of attention of q [N, L, D] over `num_keys` keys.
double product_flop(int64_t rows, int64_t in_features, int64_t out_features) noexcept;
double attention_flop(const at::Tensor& q, int64_t num_keys);

// Bytes copied from host memory to a device, in this process so far.
void count_upload(int64_t bytes) noexcept;
[[nodiscard]] int64_t uploaded_bytes() noexcept;

}  // namespace t2v::ops
