// What the engine tells while it works, and how it is asked to stop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace t2v {

// Stages in the order of the pipe; names as in the --profile report.
enum class Stage {
  kLoadTextEncoder,
  kTextEncode,
  kVaeEncode,  // pictures to latents
  kLoadTransformer,
  kDenoise,
  kLoadVae,
  kVaeDecode,
  kVideoEncode,
};

// "load_text_encoder" ... "video_encode".
const char* stage_name(Stage stage) noexcept;

struct ProgressEvent {
  Stage stage = Stage::kDenoise;
  int64_t done = 0;          // units finished in this stage (layers, steps, frames)
  int64_t total = 0;         // units of this stage; 0 = unknown
  std::string expert;        // "high_noise", "low_noise" or ""
  int64_t bytes_done = 0;    // of weights read by a loading stage
  int64_t bytes_total = 0;   // that it will read; 0 = unknown
  size_t item = 0;           // of a batch
  int64_t together = 1;      // videos that take this step
  bool background = false;   // beside the denoising of another video
  bool predicted = false;    // the step came from the step cache
  int64_t host_bytes = 0;    // of this process now; 0 = not looked at
  int64_t device_bytes = 0;  // of tensors on the device now
};

// Called on the engine's thread, at least at the start and the end of each stage. Must be quick.
class ProgressListener {
 public:
  ProgressListener() = default;
  ProgressListener(const ProgressListener&) = delete;
  ProgressListener& operator=(const ProgressListener&) = delete;
  virtual ~ProgressListener();
  virtual void on_progress(const ProgressEvent& event) = 0;
};

// Set from a signal handler or another thread; the engine looks at it between units of work
// and ends with Error{kCancelled}.
class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace t2v
