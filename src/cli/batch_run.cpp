#include "cli/batch_run.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cli/content_hash.h"
#include "cli/output_names.h"
#include "cli/problems.h"
#include "cli/profile_json.h"
#include "cli/recipe_command.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "cli/summary.h"
#include "cli/video_output.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/escape.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;

constexpr std::chrono::seconds kFileTimeSlack{2};  // the coarsest file systems count in twos

std::string decode_command(const GenerateOptions& options, const std::string& output,
                           const std::string& latents) {
  std::string command = "t2v decode " + shell_quoted(latents);
  if (options.engine.model_path != shipped_model())
    command += " -m " + shell_quoted(options.engine.model_path);
  if (!options.engine.components.vae.empty())
    command += " --vae " + shell_quoted(options.engine.components.vae);
  return command + " -o " + shell_quoted(output == "-" ? "out.mp4" : output);
}

// Temporary files of killed processes: of the video and of its state.
void clear_abandoned(const std::string& output) {
  if (output == "-") return;
  core::remove_abandoned(output);
  core::remove_abandoned(state_name(output));
}

// The same input fails in the same way.
bool is_worth_a_retry(ErrorKind kind) {
  return kind != ErrorKind::kUsage && kind != ErrorKind::kInput && kind != ErrorKind::kCancelled;
}

}  // namespace

BatchRun::BatchRun(Engine& engine, const GenerateOptions& options, const EarlierRun& earlier,
                   BatchPlace place)
    : engine_(engine),
      options_(options),
      earlier_(earlier),
      place_(std::move(place)),
      console_(options.talk),
      metrics_(options.talk.metrics_path) {}

// What goes wrong beside the videos is told at the end.
template <typename Work>
void BatchRun::kept(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    if (!side_error_) side_error_ = error;
  }
}

BatchEnd BatchRun::run(std::vector<Job> jobs) {
  const auto num_jobs = static_cast<int64_t>(jobs.size());
  metrics_.begin(num_jobs);
  for (Job& job : jobs) {
    throw_if_interrupted();
    Item item;
    item.job = std::move(job);
    const std::string recipe_json = engine_.recipe_json(item.job.recipe);
    item.recipe_hash = earlier_.hash_of(recipe_json);
    if (!keep_or_refuse(item, recipe_json)) items_.push_back(std::move(item));
    if (options_.batch.fail_fast && summary_.has_failures()) break;
  }
  std::vector<BatchItem> items;
  if (!(options_.batch.fail_fast && summary_.has_failures())) {
    for (Item& item : items_)
      items.push_back({.recipe = item.job.recipe, .outputs = outputs_of(item)});
    make_all(items);
  }
  finish();
  if (summary_.ended() == num_jobs) earlier_.forget_seeds();
  if (several()) {
    console_.tell(summary_.text(num_jobs, place_.results_path));
    console_.tell_json(summary_.json(num_jobs, place_.results_path));
  } else if (!items_.empty() && items_[0].error) {
    throw Error(*items_[0].error);
  }
  if (side_error_) throw Error(*side_error_);
  return summary_.has_failures() ? BatchEnd::kSomeFailed : BatchEnd::kAllDone;
}

// True: nothing is to be made.
bool BatchRun::keep_or_refuse(Item& item, const std::string& recipe_json) {
  FileFacts facts;
  if (!item.job.refusal.empty()) {
    const Error refusal(ErrorKind::kInput, item.job.refusal);
    if (!several()) throw refusal;
    fail(item, ItemStatus::kRefused, refusal);
    return true;
  }
  if (!earlier_.has_made(item.job, recipe_json, facts)) return false;
  // Killed right behind the video: what was to be resumed is still there.
  core::remove_quietly(state_name(item.job.output));
  clear_abandoned(item.job.output);
  end(item, ItemStatus::kSkipped, nullptr, facts);
  if (!several())
    console_.tell(str("t2v: ", core::escape_control(item.job.output), " is there already\n"));
  kept([&] { write_stdout(item.job.output + "\n"); });
  return true;
}

GenerateOutputs BatchRun::outputs_of(Item& item) const {
  const Job& job = item.job;
  const BatchOptions& batch = options_.batch;
  item.rescue_path = rescue_name(job.output, job.recipe.seed);
  if (!batch.preview.empty()) {
    item.preview = std::make_unique<PreviewFile>(expand_name(
        batch.preview, {.index = job.index, .seed = job.recipe.seed, .prompt = job.recipe.prompt}));
  }
  GenerateOutputs outputs;
  outputs.dump_path = job.dump_path;
  outputs.save_latents_path = job.save_latents_path;
  outputs.rescue_latents_path = item.rescue_path;
  outputs.embed_recipe = options_.sink.metadata;
  outputs.preview = item.preview.get();
  outputs.timeout_s = batch.timeout_s;
  outputs.checkpoint_path = state_name(job.output);
  outputs.checkpoint_every_s = batch.checkpoint_every_s;
  // A retry goes on from where a timeout has ended it.
  outputs.resume = batch.start == Start::kResumed || batch.retries > 0;
  if (batch.start == Start::kFresh) core::remove_quietly(outputs.checkpoint_path);
  return outputs;
}

void BatchRun::make_all(const std::vector<BatchItem>& items) {
  throw_if_interrupted();
  if (items.empty()) return;
  try {
    engine_.generate_all(items, *this, console_, cancel_token());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kCancelled) throw;
    interrupted(error);
  }
  for (Item& item : items_) {
    if (item.ended || !item.error) continue;  // to be made again, and never was
    fail(item, ItemStatus::kFailed, *item.error);
  }
}

void BatchRun::interrupted(const Error& error) {
  finish();
  std::string message = error.what();
  for (const Item& item : items_)
    if (item.error && item.error->kind() == ErrorKind::kCancelled) message = item.error->what();
  if (several()) {
    message += str("; ", summary_.count(ItemStatus::kDone) + summary_.count(ItemStatus::kSkipped),
                   " of ", place_.num_videos, " videos are done, try the same with --resume");
  } else if (!items_[0].job.seed_given && place_.results_path.empty()) {
    message += str(" (with --seed ", items_[0].job.recipe.seed, ")");
  }
  throw Error(ErrorKind::kCancelled, message);
}

std::string BatchRun::title(const Item& item) const {
  return several() ? str("video ", item.job.index, " of ", place_.num_videos) : "";
}

void BatchRun::on_begin(size_t number) {
  Item& item = items_.at(number);
  item.begun = true;
  item.begun_at = fs::file_time_type::clock::now() - kFileTimeSlack;
  console_.begin(title(item), number);
  clear_abandoned(item.job.output);
}

FrameSink* BatchRun::open_sink(size_t number) {
  Item& item = items_.at(number);
  item.sink = media::open_media().create_sink(with_path(options_.sink, item.job.output));
  return item.sink.get();
}

void BatchRun::on_done(size_t number, const Report& report) {
  Item& item = items_.at(number);
  item.sink.reset();
  item.error.reset();
  FileFacts facts = facts_of(item.job.output);
  if (facts.bytes >= 0 && !place_.results_path.empty())
    facts.sha256 = hash_of_file(item.job.output);
  end(item, ItemStatus::kDone, &report, facts);
  summary_.add_report(report);
  tell_done(item, report);
}

AfterFailure BatchRun::on_failed(size_t number, const Error& error) {
  Item& item = items_.at(number);
  item.sink.reset();
  item.error = error;
  if (error.kind() == ErrorKind::kCancelled) {
    end(item, ItemStatus::kInterrupted, nullptr, {});
    return AfterFailure::kStop;
  }
  if (is_worth_a_retry(error.kind()) && item.retries < options_.batch.retries) {
    ++item.retries;
    console_.warn(str(several() ? title(item) + ": " : "", error.what(), "; it is tried again (",
                      item.retries, " of ", options_.batch.retries, ")"));
    return AfterFailure::kAgain;
  }
  fail(item, ItemStatus::kFailed, with_rescue(item, error));
  return options_.batch.fail_fast ? AfterFailure::kStop : AfterFailure::kGoOn;
}

// The latents of a video whose file could not be made, as a command.
Error BatchRun::with_rescue(const Item& item, const Error& error) const {
  const std::string message = error.what();
  std::error_code ignored;
  const auto written = fs::last_write_time(item.rescue_path, ignored);
  if (ignored || !item.begun || written < item.begun_at ||
      message.find("t2v decode") != std::string::npos)
    return error;
  return {error.kind(), message + "; the latents are saved, try " +
                            decode_command(options_, item.job.output, item.rescue_path)};
}

void BatchRun::fail(Item& item, ItemStatus status, const Error& error) {
  item.error = error;
  end(item, status, nullptr, {});
  if (!several()) return;  // the program's one line tells it
  console_.end_line();
  const std::string line = str(title(item), ": ", error.what(), " (", quoted(item.job.output), ", ",
                               item.job.where, ")");
  write_stderr("t2v: error: " + core::escape_control(line) + "\n");
  summary_.add_failure(str(item_status_name(status), ": ", line));
}

void BatchRun::end(Item& item, ItemStatus status, const Report* report, FileFacts file) {
  item.ended = true;
  summary_.add(status);
  kept([&] { metrics_.add(status, report); });
  if (place_.results_path.empty()) return;
  const ResultLine line{.index = item.job.index,
                        .status = status,
                        .output = item.job.output,
                        .seed = item.job.recipe.seed,
                        .prompt = item.job.recipe.prompt,
                        .recipe_hash = item.recipe_hash,
                        .file = std::move(file),
                        .report = report,
                        .retries = item.retries,
                        .error = item.error};
  kept([&] { append_result(place_.results_path, result_json(line)); });
}

void BatchRun::tell_done(const Item& item, const Report& report) {
  console_.end_line();
  for (const std::string& warning : report.warnings)
    if (told_warnings_.insert(warning).second) console_.warn(warning);
  if (item.preview && !item.preview->problem().empty())
    console_.warn("no preview: " + item.preview->problem());
  if (several() && options_.talk.verbosity == Verbosity::kNormal) {
    console_.tell(done_line(title(item), report, item.job.output));
  } else {
    console_.tell(summary_text(report, item.job.output, options_.asked));
  }
  console_.tell_json(done_json(report, item.job.output));
  if (options_.talk.profile && options_.talk.profile_path.empty())
    write_stderr(profile_table(report));
  if (!options_.talk.profile_path.empty())
    profiles_.push_back(profile_json(report, engine_.recipe_json(report.recipe)));
  if (item.job.output != "-") kept([&] { write_stdout(item.job.output + "\n"); });
}

// Profile and trace of all, also of a run that was interrupted.
void BatchRun::finish() {
  if (!options_.talk.profile_path.empty() && !profiles_.empty())
    kept([&] { write_file(options_.talk.profile_path, join_profiles(profiles_)); });
  if (!options_.talk.trace_path.empty())
    kept([&] { engine_.write_trace(options_.talk.trace_path); });
}

}  // namespace t2v::cli
