// results.jsonl: one line of JSON for each video of a batch, written as it ends; several processes
// may write to one file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "t2v/engine.h"

namespace t2v::cli {

enum class ItemStatus { kDone, kFailed, kSkipped, kRefused, kInterrupted };

// "done" ... "interrupted".
const char* item_status_name(ItemStatus status) noexcept;

// A finished file, as it was when its line was written.
struct FileFacts {
  int64_t bytes = -1;        // -1: no plain file
  int64_t modified_ns = -1;  // since 1970
  std::string sha256;        // "" = not computed
};

// Size and time of the last change; the hash stays empty. A folder or nothing there: as
// initialised.
FileFacts facts_of(const std::string& path);

struct ResultLine {
  int64_t index = 0;  // of the whole list, 1-based
  ItemStatus status = ItemStatus::kDone;
  std::string output;
  uint64_t seed = 0;
  std::string prompt;
  std::string recipe_hash;  // SHA-256 of the recipe
  FileFacts file;
  const Report* report = nullptr;  // of done ones
  int64_t retries = 0;
  std::optional<Error> error;
};

// Without a line end; with the time of now.
std::string result_json(const ResultLine& line);

// What an earlier run has written about a video.
struct EarlierResult {
  bool done = false;  // or found done
  uint64_t seed = 0;
  std::string prompt;
  std::string recipe_hash;
  FileFacts file;
};
struct EarlierResults {
  std::map<std::string, EarlierResult> by_output;  // the latest line of each
  std::map<int64_t, EarlierResult> by_index;
};

// No file: nothing. Torn and foreign lines are left out. Throws Error{kInput} when it is there and
// cannot be read.
EarlierResults read_results(const std::string& path);

// Appends one line and makes it durable: one write, whatever other processes do; a torn line of a
// killed one stays on its own. Throws Error{kOutput}; then the file is as it was.
void append_result(const std::string& path, const std::string& json);

}  // namespace t2v::cli
