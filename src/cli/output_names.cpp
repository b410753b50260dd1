#include "cli/output_names.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/problems.h"
#include "core/check.h"
#include "core/utf8.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;

constexpr size_t kMaxSlugBytes = 40;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

bool is_ascii_word(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

// CJK punctuation, general punctuation and full-width forms are no part of a word.
bool is_wide_punctuation(std::string_view sequence) {
  return sequence.starts_with("\xe3\x80") || sequence.starts_with("\xe2\x80") ||
         sequence.starts_with("\xef\xbc") || sequence.starts_with("\xef\xbd") ||
         sequence.starts_with("\xc2");
}

}  // namespace

std::string slug_of(const std::string& prompt) {
  std::string slug;
  for (size_t i = 0; i < prompt.size();) {
    const size_t length = core::utf8_sequence_length(std::string_view(prompt).substr(i));
    const std::string sequence = prompt.substr(i, length == 0 ? 1 : length);
    i += sequence.size();
    const bool word = length == 1 ? is_ascii_word(lower(sequence[0]))
                                  : length > 1 && !is_wide_punctuation(sequence);
    if (slug.size() + sequence.size() > kMaxSlugBytes) break;
    if (word) {
      slug += length == 1 ? std::string(1, lower(sequence[0])) : sequence;
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "video" : slug;
}

std::string expand_name(const std::string& pattern, const NamedVideo& video) {
  char index[24];
  std::snprintf(index, sizeof index, "%04lld", static_cast<long long>(video.index));
  std::string name = pattern;
  replace_all(name, "{index}", index);
  replace_all(name, "{seed}", std::to_string(video.seed));
  replace_all(name, "{slug}", slug_of(video.prompt));
  return name;
}

bool is_output_folder(const std::string& output, bool several) {
  if (output.empty() || output == "-") return false;
  if (output.ends_with("/")) return true;
  std::error_code ignored;
  const fs::path path(output);
  if (path.extension() != ".png" && fs::is_directory(path, ignored)) return true;
  return several && path.extension().empty();
}

std::string output_pattern(const std::string& output, bool several) {
  if (output == "-") return output;
  const std::string name = several ? "{index}-{slug}-{seed}.mp4" : "{slug}-{seed}.mp4";
  if (output.empty()) return name;
  return is_output_folder(output, several) ? (fs::path(output) / name).string() : output;
}

std::string base_folder(const std::string& pattern) {
  fs::path folder = fs::path(pattern).parent_path();
  while (folder.string().find('{') != std::string::npos) folder = folder.parent_path();
  return folder.string();
}

std::string name_in_folder(const std::string& folder, const std::string& name,
                           const std::string& where) {
  const auto refuse = [&](const char* why) {
    throw Error(ErrorKind::kInput, str("bad field 'output': ", quoted(name), " ", why, " (", where,
                                       "); try a plain file name such as red.mp4"));
  };
  for (const char letter : name)
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) refuse("has control bytes");
  const fs::path relative(name);
  if (relative.filename().empty() || relative.filename() == ".") refuse("names no file");
  if (relative.is_absolute()) refuse("is absolute, and results stay in the output folder");
  for (const fs::path& part : relative)
    if (part == "..") refuse("leads out of the output folder");
  const fs::path base = folder.empty() ? fs::path(".") : fs::path(folder);
  std::error_code ignored;
  const fs::path real_base = fs::weakly_canonical(fs::absolute(base, ignored), ignored);
  const fs::path real =
      fs::weakly_canonical(fs::absolute(base / relative, ignored).parent_path(), ignored);
  const auto ends = std::mismatch(real_base.begin(), real_base.end(), real.begin(), real.end());
  if (ends.first != real_base.end()) refuse("leads out of the output folder through a link");
  return folder.empty() ? name : (base / relative).string();
}

std::string state_name(const std::string& output) {
  if (output == "-") return "";
  std::string name = output;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  const fs::path path(name);
  constexpr size_t kMaxNameBytes = 200;  // with what is added, and with a temporary name's own
  return (path.parent_path() /
          str(".", path.filename().string().substr(0, kMaxNameBytes), ".t2v-state"))
      .string();
}

std::string rescue_name(const std::string& output, uint64_t seed) {
  if (output == "-") return str("t2v-", seed, ".latents.safetensors");
  std::string name = output;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  return name + ".latents.safetensors";
}

void NameRegistry::add(const std::string& path, const std::string& what) {
  if (path.empty() || path == "-") return;
  std::error_code ignored;
  std::string full = fs::weakly_canonical(fs::absolute(path, ignored), ignored).string();
  if (full.empty()) full = path;
  const auto [entry, added] = what_of_.try_emplace(std::move(full), what);
  if (added) return;
  const bool same = entry->second == what;
  throw Error(
      ErrorKind::kUsage,
      str(same ? str("several videos would get the same name for ", what)
               : str(entry->second, " and ", what, " name the same file"),
          ": ", quoted(path), " is used twice (command line); try ",
          same ? "a name with {index}, {seed} or {slug} in it" : "another name for one of them"));
}

}  // namespace t2v::cli
