#include "cli/block_list.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cli/folded_text.h"
#include "cli/problems.h"
#include "cli/text_file.h"
#include "core/check.h"

#ifdef T2V_RE2
#include <re2/re2.h>
#endif

namespace t2v::cli {
namespace {

using core::str;

constexpr size_t kMaxFileBytes = 64 * 1000 * 1000;
constexpr size_t kMaxPatterns = 10000;  // each is run over each prompt
constexpr size_t kMaxPatternBytes = 4096;
constexpr size_t kNoLine = std::numeric_limits<size_t>::max();

// Words and phrases, looked up by hash at each place of a text where one may start.
class Words {
 public:
  void add(const std::string& folded, size_t line) {
    if (!lines_.try_emplace(folded, line).second) return;
    size_t length = 0;
    std::vector<size_t>& sizes = sizes_[code_point(folded, 0, length)];
    const auto at = std::lower_bound(sizes.begin(), sizes.end(), folded.size());
    if (at == sizes.end() || *at != folded.size()) sizes.insert(at, folded.size());
  }

  // The lowest line of a word in the text.
  [[nodiscard]] size_t find(const std::string& text) const {
    size_t found = kNoLine;
    int32_t before = -1;
    std::string candidate;
    for (size_t at = 0, length = 0; at < text.size(); at += length) {
      const int32_t point = code_point(text, at, length);
      const auto sizes = sizes_.find(point);
      if (sizes != sizes_.end() && may_part(before, point)) {
        for (const size_t size : sizes->second) {
          if (size > text.size() - at) break;
          candidate.assign(text, at, size);
          const auto line = lines_.find(candidate);
          if (line != lines_.end() && ends_at(text, at + size))
            found = std::min(found, line->second);
        }
      }
      before = point;
    }
    return found;
  }

 private:
  // Whether a word may end between two neighbours; `inside` belongs to it.
  static bool may_part(int32_t outside, int32_t inside) {
    return outside < 0 || !is_word_character(outside) || !is_word_character(inside) ||
           is_written_without_blanks(inside);
  }

  static bool ends_at(const std::string& text, size_t end) {
    if (end == text.size()) return true;
    size_t start = end;
    while (start > 0 && (static_cast<unsigned char>(text[--start]) & 0xc0) == 0x80) {
    }
    size_t length = 0;
    const int32_t last = code_point(text, start, length);
    return may_part(code_point(text, end, length), last);
  }

  std::unordered_map<std::string, size_t> lines_;
  std::unordered_map<int32_t, std::vector<size_t>> sizes_;  // in bytes, by first character, rising
};

struct Pattern {
#ifdef T2V_RE2
  std::unique_ptr<re2::RE2> expression;
#endif
  size_t line = 0;
};

}  // namespace

struct BlockList::Entries {
  std::string path;
  Words exact;     // entries with accents
  Words unmarked;  // entries without: they also match words that have some
  std::vector<Pattern> patterns;
  size_t count = 0;

  // Returns what is wrong with the line; "" when it is an entry now.
  std::string add(const std::string& text, size_t line) {
    ++count;
    if (text.starts_with('/')) return add_pattern(text, line);
    const std::string folded = folded_text(text);
    if (folded.empty()) return "holds no visible character";
    const std::string plain = without_accents(folded);
    if (plain == folded) {
      unmarked.add(folded, line);
    } else {
      exact.add(folded, line);
    }
    return "";
  }

  std::string add_pattern(const std::string& text, size_t line) {
    if (text.size() < 3 || !text.ends_with('/')) return "is no /regular expression/: write /.../";
    if (text.size() > kMaxPatternBytes) return "is too long for a regular expression";
    if (patterns.size() == kMaxPatterns)
      return str("is one regular expression too many: at most ", kMaxPatterns);
#ifdef T2V_RE2
    re2::RE2::Options options;
    options.set_case_sensitive(false);
    options.set_log_errors(false);
    auto expression = std::make_unique<re2::RE2>(text.substr(1, text.size() - 2), options);
    if (!expression->ok()) return str("is no regular expression: ", expression->error());
    patterns.push_back({.expression = std::move(expression), .line = line});
    return "";
#else
    return "needs RE2, which this t2v was built without";
#endif
  }

  [[nodiscard]] size_t find_pattern([[maybe_unused]] const std::string& text) const {
#ifdef T2V_RE2
    for (const Pattern& pattern : patterns) {
      if (re2::RE2::PartialMatch(text, *pattern.expression)) return pattern.line;
    }
#endif
    return kNoLine;
  }
};

BlockList::BlockList(std::unique_ptr<Entries> entries) : entries_(std::move(entries)) {}
BlockList::BlockList(BlockList&&) noexcept = default;
BlockList& BlockList::operator=(BlockList&&) noexcept = default;
BlockList::~BlockList() = default;

BlockList BlockList::read(const std::string& path) {
  const auto lines = split_lines(read_text_file(path, kMaxFileBytes, "block list"));
  auto entries = std::make_unique<Entries>();
  entries->path = path;
  Problems problems;
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t first = lines[i].find_first_not_of(" \t");
    if (first == std::string::npos || lines[i][first] == '#') continue;
    const std::string text = lines[i].substr(first, lines[i].find_last_not_of(" \t") + 1 - first);
    const std::string why = entries->add(text, i + 1);
    if (why.empty()) continue;
    problems.add(str("bad entry of the block list: line ", i + 1, " ", why, " (", quoted(path),
                     ", --block-list)"));
  }
  problems.throw_if_any(ErrorKind::kInput);
  T2V_REQUIRE(entries->count > 0, ErrorKind::kInput,
              "block list is empty: there is no entry in it (", quoted(path),
              ", --block-list); try one word a line, or leave the flag out");
  return BlockList(std::move(entries));
}

std::optional<BlockList::Match> BlockList::find(const std::string& text) const {
  const std::string decoded = without_references(text);
  const std::string folded = folded_text(decoded);
  size_t line = entries_->exact.find(folded);
  line = std::min(line, entries_->unmarked.find(without_accents(folded)));
  if (!entries_->patterns.empty())
    line = std::min(line, entries_->find_pattern(compatible_text(decoded)));
  if (line == kNoLine) return std::nullopt;
  return Match{.line = line};
}

std::optional<std::string> BlockList::refusal_of(const Request& request) const {
  const auto message = [&](const std::string& what, const Match& match) {
    return str(what, " is refused: line ", match.line, " of the block list matches it (",
               quoted(entries_->path), ", --block-list); try other words");
  };
  if (const auto match = find(request.prompt)) return message("prompt", *match);
  for (const PromptAt& change : request.prompts_at) {
    if (const auto match = find(change.prompt))
      return message(str("prompt from second ", change.seconds, " on"), *match);
  }
  return std::nullopt;
}

size_t BlockList::num_entries() const noexcept { return entries_->count; }

}  // namespace t2v::cli
