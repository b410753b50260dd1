// Where results go: names of one or several videos, their placeholders, and what may not collide.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

// Where the latents of a video go when it cannot be saved.
std::string rescue_name(const std::string& output, uint64_t seed);

// Refuses two results (or a result and an input) of the same name.
class NameRegistry {
 public:
  // what: "--output", "--prompts". Throws Error{kUsage} when the path was used before.
  void add(const std::string& path, const std::string& what);

 private:
  struct Entry {
    std::string path;
    std::string what;
  };
  std::vector<Entry> entries_;
};

}  // namespace t2v::cli
