// t2v verify: compares a model's files with its manifest, or writes the manifest.
#include "t2v/verify.h"

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/problems.h"
#include "cli/signals.h"
#include "cli/streams.h"
#include "core/check.h"
#include "core/escape.h"
#include "core/module.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::array<const char*, 4> kStates{"ok", "changed", "missing", "extra"};  // FileState

const char* word_of(FileState state) { return kStates[static_cast<size_t>(state)]; }

int64_t count(const VerifyReport& report, FileState state) {
  int64_t found = 0;
  for (const VerifiedFile& file : report.files) found += file.state == state ? 1 : 0;
  return found;
}

std::string gigabytes(int64_t bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text.data();
}

// A line on a terminal that rewrites itself four times a second.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted) : wanted_(wanted && stderr_is_terminal()) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() {
    if (shown_) write_stderr("\r\033[K");
  }
  void show(int64_t done, int64_t total) {
    const auto now = Clock::now();
    if (!wanted_ || now - last_ < std::chrono::milliseconds(250)) return;
    last_ = now;
    shown_ = true;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    write_stderr(str("\r\033[Kverify ", 100 * done / std::max<int64_t>(total, 1), " % of ",
                     gigabytes(total), ", ",
                     gigabytes(static_cast<int64_t>(static_cast<double>(done) / seconds)), "/s"));
  }

 private:
  bool wanted_;
  bool shown_ = false;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_ = begin_;
};

VerifyReport verify(VerifyOptions options, bool quiet) {
  using Verify = void (*)(const VerifyOptions&, const CancelToken&, VerifyReport&);
  const auto call = reinterpret_cast<Verify>(core::load_module("t2v_engine", "t2v_verify_model"));
  ProgressLine line(!quiet);
  options.on_progress = [&line](int64_t done, int64_t total) { line.show(done, total); };
  VerifyReport report;
  call(options, cancel_token(), report);
  return report;
}

std::string json_text(const VerifyReport& report) {
  Json files = Json::array();
  for (const VerifiedFile& file : report.files)
    files.push_back({{"path", file.path}, {"state", word_of(file.state)}, {"bytes", file.bytes}});
  const Json json = {{"manifest", report.manifest_path}, {"files", std::move(files)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string lines_of(const VerifyReport& report) {
  std::string text;
  for (const VerifiedFile& file : report.files)
    text += str(word_of(file.state), std::string(8 - std::string(word_of(file.state)).size(), ' '),
                core::escape_control(file.path), "\n");
  return text;
}

}  // namespace

void run_verify(const Invocation& invocation) {
  require_positionals(invocation, "PATH");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  const EngineOptions running = read_running_options(flags);
  VerifyOptions options{.path = invocation.positionals.front(),
                        .write_manifest = flags.has("write-manifest"),
                        .io = running.io,
                        .timeout_seconds = running.remote_timeout_seconds};
  problems.throw_if_any();
  struct stat status {};
  T2V_REQUIRE(is_remote(options.path) || ::stat(options.path.c_str(), &status) == 0,
              ErrorKind::kModel, "cannot verify: no such folder (", quoted(options.path), ")");
  const VerifyReport report = verify(options, flags.has("quiet"));
  write_stdout(flags.has("json") ? json_text(report) : lines_of(report));
  if (options.write_manifest && !flags.has("quiet"))
    write_stderr(str("wrote ", core::escape_control(report.manifest_path), ": ",
                     report.files.size(), " files, ", gigabytes(report.bytes_read), "\n"));
  const int64_t changed = count(report, FileState::kChanged);
  const int64_t missing = count(report, FileState::kMissing);
  T2V_REQUIRE(changed + missing == 0, ErrorKind::kModel,
              "the model is not that of its manifest: ", changed, " changed, ", missing,
              " missing (", quoted(options.path), "); try to download these files again");
}

}  // namespace t2v::cli
