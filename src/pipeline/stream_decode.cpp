#include "pipeline/stream_decode.h"

#include <c10/core/InferenceMode.h>

#include <chrono>
#include <utility>

#include "core/check.h"
#include "models/vae/decoder.h"
#include "pipeline/frame_return.h"
#include "pipeline/own_stream.h"
#include "pipeline/sink_guard.h"

namespace t2v::pipeline {
namespace {

constexpr size_t kMaxQueued = 2;
constexpr std::chrono::milliseconds kPatience{50};  // of those who wait: until they look around

// Thrown inside the thread only: the other side has given up.
struct Stopped {};

double ms_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace

StreamDecoder::StreamDecoder(const Model& model, const VideoFormat& format, FrameSink* sink,
                             const Compute& compute, Frames frames, std::function<void()> check)
    : model_(model),
      format_(format),
      sink_(sink),
      compute_(compute),
      keep_(frames),
      check_(std::move(check)),
      thread_([this] { work(); }) {}

StreamDecoder::~StreamDecoder() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StreamDecoder::rethrow_failure() {
  if (failure_) std::rethrow_exception(failure_);
}

void StreamDecoder::wait_until(std::unique_lock<std::mutex>& lock,
                               const std::function<bool()>& ready) {
  while (!changed_.wait_for(lock, kPatience, ready)) check_();
}

void StreamDecoder::push(at::Tensor latents) {
  T2V_ASSERT(latents.is_cpu() && latents.dim() == 4);
  std::unique_lock lock(mutex_);
  wait_until(lock, [&] { return queue_.size() < kMaxQueued || failure_ != nullptr; });
  rethrow_failure();
  queue_.push_back(std::move(latents));
  lock.unlock();
  changed_.notify_all();
}

void StreamDecoder::finish() {
  {
    std::unique_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
    wait_until(lock, [&] { return is_done_; });
  }
  thread_.join();
  rethrow_failure();
}

bool StreamDecoder::pop(at::Tensor& latents) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || ended_ || !queue_.empty(); });
  if (stopping_) throw Stopped();
  if (queue_.empty()) return false;
  latents = std::move(queue_.front());
  queue_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return true;
}

void StreamDecoder::write(const at::Tensor& rgb8) {
  const auto begin = std::chrono::steady_clock::now();
  guard_.see(rgb8.const_data_ptr<uint8_t>(), rgb8.numel() / 3);
  if (sink_) sink_->write(rgb8.const_data_ptr<uint8_t>(), rgb8.size(0));
  encode_ms_ += ms_since(begin);
  if (keep_ == Frames::kAlsoKept) rgb8_.push_back(rgb8.clone());
  frames_done_ += rgb8.size(0);
}

void StreamDecoder::decode_all() {
  const OwnStream own_stream(compute_.device);
  const auto map = open_weights(model_, "vae");
  const models::vae::Decoder decoder(
      model_.vae, map,
      models::vae::decoder_dtype(model_.vae, compute_.dtype, compute_.device.type()),
      compute_.device);
  bytes_read_ = map.bytes_read();
  if (sink_) sink_->begin(format_);
  const int64_t scale = decoder.spec().spatial_factor();
  auto stream = decoder.start(format_.height / scale, format_.width / scale);
  FrameReturn frame_return(compute_.device, format_.height * format_.width,
                           decoder.spec().temporal_factor());
  int64_t latent_frame = 0;
  for (at::Tensor latents; pop(latents);) {
    const auto begin = std::chrono::steady_clock::now();
    const double encoded = encode_ms_;
    const at::Tensor input = models::vae::denormalise(model_.vae, latents).to(compute_.device);
    for (int64_t t = 0; t < input.size(1); ++t, ++latent_frame) {
      if (stopping_) throw Stopped();
      const at::Tensor frames = stream.next(input.narrow(1, t, 1));
      frame_return.send(frames, latent_frame);
      if (keep_ == Frames::kAlsoKept) frames_.push_back(frames.to(at::kCPU).clone());
      if (frame_return.in_flight() == frame_return.capacity()) write(frame_return.receive().rgb8);
    }
    decode_ms_ += ms_since(begin) - (encode_ms_ - encoded);
  }
  while (frame_return.in_flight() > 0) write(frame_return.receive().rgb8);
  guard_.require_picture();
  if (stopping_) throw Stopped();
  const auto begin = std::chrono::steady_clock::now();
  if (sink_) sink_->finish();
  encode_ms_ += ms_since(begin);
}

void StreamDecoder::work() noexcept {
  SinkGuard guard(sink_);
  try {
    const c10::InferenceMode no_gradients;
    decode_all();
    guard.release();
  } catch (const Stopped&) {  // by the destructor: nobody asks for the reason
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    is_done_ = true;
  }
  changed_.notify_all();
}

}  // namespace t2v::pipeline
