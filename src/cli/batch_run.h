// Runs a list of videos through the engine: where each goes, what is told and recorded of it, what
// becomes of those that fail.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/batch_summary.h"
#include "cli/console.h"
#include "cli/generate_options.h"
#include "cli/jobs.h"
#include "cli/metrics_file.h"
#include "cli/preview_file.h"
#include "cli/resume.h"
#include "t2v/engine.h"

namespace t2v::cli {

// Of the whole list, of which this run may make only a part.
struct BatchPlace {
  int64_t num_videos = 1;
  std::string results_path;  // "" = no results file
};

enum class BatchEnd { kAllDone, kSomeFailed };

// Used once. Host of the engine's batch: its calls come one at a time.
class BatchRun final : public BatchHost {
 public:
  BatchRun(Engine& engine, const GenerateOptions& options, const EarlierRun& earlier,
           BatchPlace place);

  // Makes them in order. Failures of one of several are told at once and do not end the others; of
  // a single one the Error is thrown. Throws Error{kCancelled} after a signal.
  BatchEnd run(std::vector<Job> jobs);

  void on_begin(size_t number) override;
  FrameSink* open_sink(size_t number) override;
  void on_done(size_t number, const Report& report) override;
  AfterFailure on_failed(size_t number, const Error& error) override;

 private:
  struct Item {
    Job job;
    std::string recipe_hash;
    std::string rescue_path;
    std::unique_ptr<PreviewFile> preview;
    std::unique_ptr<FrameSink> sink;
    std::filesystem::file_time_type begun_at;  // an older rescue file is of another run
    int64_t retries = 0;
    bool begun = false;
    bool ended = false;
    std::optional<Error> error;  // of the last failure
  };

  [[nodiscard]] bool several() const { return place_.num_videos > 1; }
  [[nodiscard]] std::string title(const Item& item) const;
  [[nodiscard]] GenerateOutputs outputs_of(Item& item) const;
  [[nodiscard]] bool keep_or_refuse(Item& item, const std::string& recipe_json);
  void make_all(const std::vector<BatchItem>& items);
  void interrupted(const Error& error);
  void end(Item& item, ItemStatus status, const Report* report, FileFacts file);
  void fail(Item& item, ItemStatus status, const Error& error);
  void tell_done(const Item& item, const Report& report);
  [[nodiscard]] Error with_rescue(const Item& item, const Error& error) const;
  void finish();
  template <typename Work>
  void kept(const Work& work);

  Engine& engine_;
  const GenerateOptions& options_;
  const EarlierRun& earlier_;
  BatchPlace place_;
  Console console_;
  BatchSummary summary_;
  std::vector<Item> items_;              // that the engine makes, by its numbers
  std::vector<std::string> profiles_;    // --profile FILE
  MetricsFile metrics_;                  // --metrics-file
  std::set<std::string> told_warnings_;  // each once, however many videos have it
  std::optional<Error> side_error_;      // of results and standard output: ends no video
};

}  // namespace t2v::cli
