// The first stage of a batch's videos: prompt -> text embeddings. Those of the videos at hand at
// once; those of later ones, where there is room, on a thread of its own beside the denoising.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "pipeline/residency.h"
#include "pipeline/text_stage.h"
#include "pipeline/video_work.h"

namespace t2v::pipeline {

class TextLine {
 public:
  // calls: of the listener, one at a time.
  TextLine(EngineState& engine, const BatchTask& task, std::mutex& calls);
  TextLine(const TextLine&) = delete;
  TextLine& operator=(const TextLine&) = delete;
  ~TextLine();

  // `items` have their embeddings when it returns: `run` makes what is missing, and with kToo in
  // the same pass over the weights those of the items behind them, as many as are held. Throws
  // Error, also kCancelled.
  enum class Later { kNot, kToo };
  void make(const std::vector<size_t>& items, Later later, const weights::StreamOptions& stream,
            Run& run);
  // Whether there are more to make ahead, and it is time to.
  [[nodiscard]] bool wants_more() const;
  // Begins to make them on its own thread, as many as are held. What fails there is left to make(),
  // and no more is begun.
  void make_ahead(weights::StreamOptions stream);
  [[nodiscard]] bool works_ahead() const;
  // Waits for the thread. Throws what was no Error there, and Error{kCancelled, kTimeout} of `run`.
  void wait(const Run& run);
  // Ends the thread's work between two blocks of the encoder; what it had is lost.
  void stop() noexcept;

  [[nodiscard]] bool has(size_t item) const;
  // Of an item that has them; good until forget().
  [[nodiscard]] const TextEmbeddings& at(size_t item) const;
  // What a pass ahead took, told once, of the first video it was for.
  [[nodiscard]] std::optional<Report> take_report(size_t item);
  void forget(size_t item);

 private:
  using Texts = std::map<size_t, TextEmbeddings>;
  // The next items, until so much is held.
  [[nodiscard]] std::vector<size_t> select_next();
  [[nodiscard]] bool wants_negative(size_t item) const;
  [[nodiscard]] Texts encode(const std::vector<size_t>& items, const weights::StreamOptions& stream,
                             Run& run) const;
  void work(const weights::StreamOptions& stream) noexcept;
  void keep(Texts texts);
  // What became of a pass that has ended.
  void settle();
  [[nodiscard]] int64_t held_bytes() const;

  EngineState& engine_;
  const BatchTask& task_;
  std::mutex& calls_;
  // Of the calling thread, but while a pass ahead is at work.
  size_t next_ = 0;                    // all items before it were looked at
  size_t begin_ = 0;                   // what it was before the last pass ahead
  bool failed_ = false;                // a pass ahead
  std::unique_ptr<CancelToken> stop_;  // of the last pass ahead
  std::thread thread_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool busy_ = false;
  Texts texts_;
  std::map<size_t, Report> reports_;
  std::exception_ptr problem_;  // of a pass ahead
};

}  // namespace t2v::pipeline
