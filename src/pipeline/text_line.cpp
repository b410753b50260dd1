#include "pipeline/text_line.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "pipeline/denoise_plan.h"
#include "pipeline/own_stream.h"
#include "text/prompt_clean.h"

namespace t2v::pipeline {

TextLine::TextLine(EngineState& engine, const BatchTask& task, std::mutex& calls)
    : engine_(engine), task_(task), calls_(calls) {}

TextLine::~TextLine() { stop(); }

bool TextLine::wants_negative(size_t item) const {
  const BatchItem& job = task_.items[item];
  return any_step_guided(job.recipe, schedule_of(job.recipe)) || !job.outputs.dump_path.empty();
}

void TextLine::make(const std::vector<size_t>& items, Later later,
                    const weights::StreamOptions& stream, Run& run) {
  const auto missing = [&] {
    std::vector<size_t> result;
    for (const size_t item : items)
      if (!has(item)) result.push_back(item);
    return result;
  };
  if (missing().empty()) return;
  if (works_ahead()) run.in_stage(Stage::kTextEncode, [&] { wait(run); });
  settle();
  std::vector<size_t> wanted = missing();
  if (wanted.empty()) return;
  for (const size_t item : wanted) next_ = std::max(next_, item + 1);
  if (later == Later::kToo) {
    const std::vector<size_t> also = select_next();
    wanted.insert(wanted.end(), also.begin(), also.end());
  }
  keep(encode(wanted, stream, run));
}

bool TextLine::wants_more() const {
  return !works_ahead() && !failed_ && next_ < task_.items.size() &&
         held_bytes() < kHeldTextBytes / 2;
}

void TextLine::make_ahead(weights::StreamOptions stream) {
  stream.num_buffers = kTextBuffersAlong;
  stop();  // the pass before has ended
  settle();
  if (failed_) return;
  begin_ = next_;
  stop_ = std::make_unique<CancelToken>();
  const auto set_busy = [this](bool busy) {
    const std::lock_guard lock(mutex_);
    busy_ = busy;
  };
  set_busy(true);
  try {
    thread_ = std::thread([this, stream] { work(stream); });
  } catch (const std::system_error&) {  // no thread to be had: texts come with their videos
    set_busy(false);
    failed_ = true;
  }
}

bool TextLine::works_ahead() const {
  const std::lock_guard lock(mutex_);
  return busy_;
}

void TextLine::wait(const Run& run) {
  {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return !busy_; }))
      run.check_cancelled();
  }
  settle();
}

void TextLine::settle() {
  std::exception_ptr problem;
  {
    const std::lock_guard lock(mutex_);
    problem = std::exchange(problem_, nullptr);
  }
  if (!problem) return;
  next_ = begin_;
  try {
    std::rethrow_exception(problem);
  } catch (const Error& error) {  // it comes again, to a video that can be blamed
    failed_ = error.kind() != ErrorKind::kCancelled;
  }
}

void TextLine::stop() noexcept {
  if (stop_) stop_->cancel();
  if (thread_.joinable()) thread_.join();
}

bool TextLine::has(size_t item) const {
  const std::lock_guard lock(mutex_);
  return texts_.count(item) != 0;
}

const TextEmbeddings& TextLine::at(size_t item) const {
  const std::lock_guard lock(mutex_);
  return texts_.at(item);
}

std::optional<Report> TextLine::take_report(size_t item) {
  const std::lock_guard lock(mutex_);
  const auto found = reports_.extract(item);
  return found.empty() ? std::nullopt : std::make_optional(std::move(found.mapped()));
}

void TextLine::forget(size_t item) {
  const std::lock_guard lock(mutex_);
  texts_.erase(item);
}

void TextLine::keep(Texts texts) {
  const std::lock_guard lock(mutex_);
  texts_.merge(texts);
}

// Negative prompts are mostly one and the same, and held once.
int64_t TextLine::held_bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  for (const auto& held : texts_) bytes += static_cast<int64_t>(held.second.cond.rows.nbytes());
  return bytes;
}

std::vector<size_t> TextLine::select_next() {
  const Model& model = engine_.model();
  std::vector<size_t> selected;
  int64_t bytes = held_bytes();
  const std::string* negative = nullptr;  // of the one before
  const auto add = [&](const std::string& prompt) {
    const auto ids = model.tokenizer->encode(text::clean_prompt(prompt), model.text_len).ids;
    bytes += static_cast<int64_t>(ids.size()) * model.transformer.text_size * 4;
  };
  for (; next_ < task_.items.size(); ++next_) {
    const Recipe& recipe = task_.items[next_].recipe;
    if (!recipe.causal.empty() || !task_.items[next_].outputs.dump_path.empty() || has(next_))
      continue;
    add(recipe.prompt);
    if (wants_negative(next_) && (negative == nullptr || *negative != recipe.negative_prompt)) {
      negative = &recipe.negative_prompt;
      add(*negative);
    }
    if (bytes > kHeldTextBytes) break;
    selected.push_back(next_);
  }
  return selected;
}

TextLine::Texts TextLine::encode(const std::vector<size_t>& items,
                                 const weights::StreamOptions& stream, Run& run) const {
  std::vector<NamedPrompt> prompts;
  for (const size_t item : items) {
    const Recipe& recipe = task_.items[item].recipe;
    prompts.push_back({recipe.prompt, "prompt", "prompt"});
    if (wants_negative(item)) prompts.push_back({recipe.negative_prompt, "negative", "negative"});
  }
  auto rows = run_text_stage(engine_.model(), prompts, engine_.conditions(), stream, run);
  Texts texts;
  size_t next = 0;
  for (const size_t item : items) {
    TextEmbeddings text{.cond = std::move(rows[next++]), .uncond = {}};
    if (wants_negative(item)) text.uncond = std::move(rows[next++]);
    texts.emplace(item, std::move(text));
  }
  return texts;
}

void TextLine::work(const weights::StreamOptions& stream) noexcept {
  std::exception_ptr problem;
  try {
    const c10::InferenceMode no_gradients;
    core::name_thread("text line");
    const OwnStream own_stream(engine_.compute().text_encoder_device);
    const std::vector<size_t> items = select_next();
    if (!items.empty()) {
      engine_.translated([&] {
        ItemListener listener(task_.progress, calls_, items.front());
        listener.go_to_background();
        Compute compute = engine_.compute();
        compute.profile = false;  // operations and memory are told of the videos at hand
        Run run(compute, listener, *stop_, /*dump=*/false);
        keep(encode(items, stream, run));
        const std::lock_guard lock(mutex_);
        reports_.insert_or_assign(items.front(), run.report());
      });
    }
  } catch (...) {
    problem = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    busy_ = false;
    problem_ = problem;
  }
  changed_.notify_all();
}

}  // namespace t2v::pipeline
