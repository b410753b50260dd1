// Many videos from one open model: what each is, and what the engine tells while it makes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "t2v/error.h"
#include "t2v/frame_sink.h"
#include "t2v/request.h"

namespace t2v {

struct Report;

// A look at a video that is still being made.
struct PreviewPicture {
  int64_t step = 0;  // steps done
  int64_t num_steps = 0;
  int64_t width = 0, height = 0;  // px
  const uint8_t* rgb = nullptr;   // height x width x 3, good during the call
};
class PreviewListener {
 public:
  PreviewListener() = default;
  PreviewListener(const PreviewListener&) = delete;
  PreviewListener& operator=(const PreviewListener&) = delete;
  virtual ~PreviewListener();
  // Called behind each step on the engine's thread. What it throws ends the video.
  virtual void on_preview(const PreviewPicture& picture) = 0;
};

// Side outputs of one generation; empty paths mean "not wanted".
struct GenerateOutputs {
  FrameSink* sink = nullptr;        // may be null: then nothing is decoded unless dump_path asks
  std::string dump_path;            // every intermediate tensor (cli.md, --dump)
  std::string save_latents_path;    // final latents + recipe
  std::string rescue_latents_path;  // written only when decoding or the sink fails
  bool embed_recipe = true;
  PreviewListener* preview = nullptr;  // may be null
  // Where the state between two steps goes when the run is interrupted, and from where it goes on;
  // removed when the video is done.
  std::string checkpoint_path;
  double checkpoint_every_s = 0;  // also written so often; 0: only when interrupted
  bool resume = false;            // go on from checkpoint_path where it is of the same recipe
  double timeout_s = 0;           // ends the video with Error{kTimeout}; 0 = none
};

struct BatchItem {
  Recipe recipe;
  GenerateOutputs outputs;  // sink stays null: BatchHost::open_sink gives it
};

// What becomes of a video that failed, and of the others.
enum class AfterFailure {
  kGoOn,   // with the next one
  kAgain,  // this one once more, behind those that are being made
  kStop,   // no other one is begun
};

// The caller's side of a batch. Calls come one at a time, but not always from the same thread.
class BatchHost {
 public:
  BatchHost() = default;
  BatchHost(const BatchHost&) = delete;
  BatchHost& operator=(const BatchHost&) = delete;
  virtual ~BatchHost();

  // The video's first step comes. Also when it is made once more.
  virtual void on_begin(size_t item) = 0;
  // Where its frames go, asked for when they are about to come; stays until on_done or on_failed.
  // Null: nothing is decoded. Throws Error: the video fails with it, its latents are saved.
  virtual FrameSink* open_sink(size_t item) = 0;
  // Its file is whole.
  virtual void on_done(size_t item, const Report& report) = 0;
  virtual AfterFailure on_failed(size_t item, const Error& error) = 0;
};

}  // namespace t2v
