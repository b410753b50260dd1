// What an earlier run has left for --resume: videos that can stay, and the seeds that it drew.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/jobs.h"
#include "cli/results_file.h"
#include "media/media.h"

namespace t2v::cli {

// SHA-256 of a recipe as the engine writes it, and of the flags of the video file that were given;
// the same for any order of the recipe's keys.
std::string recipe_hash_of(const std::string& recipe_json, const media::SinkOptions& sink);

// What a video carries is this recipe, made with these flags of the video file: they are embedded
// where they are not the defaults.
bool is_same_recipe(const std::string& embedded, const std::string& recipe_json,
                    const media::SinkOptions& sink);

enum class Start { kFresh, kResumed };

struct RunPlace {
  Start start = Start::kFresh;
  std::string results_path;  // "" = no results file
  std::string only_output;   // of a single video whose name does not hang on its seed; else ""
  int64_t count = 1;         // videos a prompt
  media::SinkOptions sink;
};

class EarlierRun {
 public:
  // Throws Error{kInput} when the results file cannot be read.
  explicit EarlierRun(RunPlace place);

  // The seed that the prompt whose first video has this index had before; else one of this run's,
  // where there is a results file to remember it; else nothing.
  std::optional<uint64_t> seed_for(int64_t index, const std::string& prompt);

  // Seeds that were drawn go to a small file beside the results, so that also a killed run can be
  // resumed. Throws Error{kOutput}.
  void remember_seeds() const;
  // All videos have their line: nobody needs that file any more.
  void forget_seeds() const noexcept;

  [[nodiscard]] std::string hash_of(const std::string& recipe_json) const {
    return recipe_hash_of(recipe_json, place_.sink);
  }

  // The file of that name is whole and of this recipe: by its line in the results, else by the
  // recipe in it and by decoding it. Fresh runs know of none. facts: for the new line.
  bool has_made(const Job& job, const std::string& recipe_json, FileFacts& facts) const;

 private:
  [[nodiscard]] std::string seeds_path() const;
  [[nodiscard]] std::optional<uint64_t> seed_in_files() const;

  RunPlace place_;
  EarlierResults results_;
  std::optional<uint64_t> base_seed_;
};

}  // namespace t2v::cli
