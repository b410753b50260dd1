// Where results go: names of one or several videos, their placeholders, and what may not collide.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace t2v::cli {

// One video of a run.
struct NamedVideo {
  int64_t index = 1;  // 1-based
  uint64_t seed = 0;
  std::string prompt;
};

// A few words of the prompt that are fit for a file name; never empty.
std::string slug_of(const std::string& prompt);

// Replaces {index} (four digits), {seed} and {slug}; other braces stay.
std::string expand_name(const std::string& pattern, const NamedVideo& video);

// The pattern that --output means: "" becomes {slug}-{seed}.mp4, a folder gets such a name in it,
// with {index} in front when there are several videos. "-" stays.
std::string output_pattern(const std::string& output, bool several);

// True for a path that names a folder to put videos in: it exists and is no .png folder of
// frames, or ends with a slash, or (several videos) has no suffix.
bool is_output_folder(const std::string& output, bool several);

// The folder that all videos of a pattern go to or below; "" = the current one.
std::string base_folder(const std::string& pattern);

// A name that one line of a prompt file gives, below `folder`. Throws Error{kInput} for names that
// could lead out of it ("..", absolute ones, links) and for control bytes.
std::string name_in_folder(const std::string& folder, const std::string& name,
                           const std::string& where);

// Where the state of an unfinished video goes: ".<name>.t2v-state" beside it; "" for "-".
std::string state_name(const std::string& output);

// Where the latents of a video go when it cannot be saved.
std::string rescue_name(const std::string& output, uint64_t seed);

// Refuses two results (or a result and an input) of the same name.
class NameRegistry {
 public:
  // what: "--output", "--prompts". Throws Error{kUsage} when the path was used before.
  void add(const std::string& path, const std::string& what);

 private:
  std::unordered_map<std::string, std::string> what_of_;  // by full path
};

}  // namespace t2v::cli
