#include "ops/op_timer.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <atomic>
#include <chrono>
#include <utility>

namespace t2v::ops {
namespace {

// Events of a device that wait to be read: the oldest are long done by then.
constexpr size_t kMaxPending = 4096;

thread_local OpTimer* current_timer = nullptr;
thread_local int current_bin = 0;
thread_local int depth = 0;  // of operations inside each other

std::atomic<int64_t> uploads{0};

int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

struct OpTimer::OnDevice {
  explicit OnDevice(c10::DeviceType type)
      : begin(type, c10::EventFlag::BACKEND_DEFAULT), end(type, c10::EventFlag::BACKEND_DEFAULT) {}
  c10::Event begin, end;
  const char* name = "";
  int bin = 0;
  double flop = 0;
};

OpTimer::OpTimer() = default;
OpTimer::~OpTimer() = default;

int OpTimer::new_bin() {
  bins_.emplace_back();
  return static_cast<int>(bins_.size()) - 1;
}

void OpTimer::add(const char* name, int bin, double ms, double flop) {
  for (OpTotal* total : {&totals_[name], &bins_[static_cast<size_t>(bin)]}) {
    ++total->calls;
    total->ms += ms;
    total->flop += flop;
  }
}

void OpTimer::add_on_device(std::unique_ptr<OnDevice> op) {
  pending_.push_back(std::move(op));
  if (pending_.size() < kMaxPending) return;
  while (pending_.size() > kMaxPending / 2) read_oldest();
}

void OpTimer::read_oldest() {
  std::unique_ptr<OnDevice> op = std::move(pending_.front());
  pending_.pop_front();
  op->end.synchronize();
  add(op->name, op->bin, op->begin.elapsedTime(op->end), op->flop);
  idle_.push_back(std::move(op));
}

void OpTimer::settle() {
  while (!pending_.empty()) read_oldest();
}

OpTimer::Use::Use(OpTimer* timer, int bin) noexcept
    : outer_timer_(std::exchange(current_timer, timer)),
      outer_bin_(std::exchange(current_bin, bin)) {}

OpTimer::Use::~Use() {
  current_timer = outer_timer_;
  current_bin = outer_bin_;
}

TimedOp::TimedOp(const char* name, const at::Tensor& where, double flop)
    : span_("op", name), name_(name), flop_(flop) {
  if (current_timer == nullptr || depth++ > 0) return;
  timer_ = current_timer;
  bin_ = current_bin;
  if (where.is_cpu()) {
    begin_ns_ = now_ns();
    return;
  }
  if (timer_->idle_.empty()) {
    on_device_ = std::make_unique<OpTimer::OnDevice>(where.device().type());
  } else {
    on_device_ = std::move(timer_->idle_.back());
    timer_->idle_.pop_back();
  }
  const c10::impl::VirtualGuardImpl guard(where.device().type());
  on_device_->begin.record(guard.getStream(where.device()));
}

TimedOp::~TimedOp() {
  if (current_timer != nullptr) --depth;
  if (timer_ == nullptr) return;
  if (!on_device_) {
    timer_->add(name_, bin_, static_cast<double>(now_ns() - begin_ns_) * 1e-6, flop_);
    return;
  }
  try {
    const c10::impl::VirtualGuardImpl guard(on_device_->begin.device_type());
    on_device_->end.record(guard.getStream(on_device_->begin.device()));
    on_device_->name = name_;
    on_device_->bin = bin_;
    on_device_->flop = flop_;
    timer_->add_on_device(std::move(on_device_));
  } catch (...) {  // a device that has failed: the operation's own error tells of it
    return;
  }
}

double product_flop(int64_t rows, int64_t in_features, int64_t out_features) noexcept {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in_features) *
         static_cast<double>(out_features);
}

double attention_flop(const at::Tensor& q, int64_t num_keys) {
  return 4.0 * static_cast<double>(q.numel()) * static_cast<double>(num_keys);
}

void count_upload(int64_t bytes) noexcept { uploads.fetch_add(bytes, std::memory_order_relaxed); }

int64_t uploaded_bytes() noexcept { return uploads.load(std::memory_order_relaxed); }

}  // namespace t2v::ops
