#include "cli/config_file.h"

#include <optional>
#include <string_view>
#include <utility>

#include "cli/text_file.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr size_t kMaxConfigBytes = 4 * 1000 * 1000;  // room for long prompts

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_comment_or_blank(std::string_view text) {
  const std::string_view rest = trimmed(text);
  return rest.empty() || rest[0] == '#';
}

std::optional<char> escaped_char(char letter) {
  switch (letter) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case '"':
      return '"';
    case '\\':
      return '\\';
    default:
      return std::nullopt;
  }
}

// text starts with a quote; empty when the value is not closed or followed by something else.
std::optional<std::string> quoted_value(std::string_view text) {
  const char quote = text[0];
  std::string out;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == quote) {
      if (!is_comment_or_blank(text.substr(i + 1))) return std::nullopt;
      return out;
    }
    if (quote == '"' && text[i] == '\\') {
      const auto character = i + 1 < text.size() ? escaped_char(text[i + 1]) : std::nullopt;
      if (!character) return std::nullopt;
      out += *character;
      ++i;
    } else {
      out += text[i];
    }
  }
  return std::nullopt;
}

std::optional<std::string> value_of(std::string_view text) {
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) return quoted_value(text);
  const size_t comment = text.find(" #");
  return std::string(trimmed(text.substr(0, comment)));
}

}  // namespace

std::vector<Setting> read_config_file(const std::string& path, const Command& command,
                                      Problems& problems) {
  std::vector<Setting> settings;
  const std::vector<std::string> lines =
      split_lines(read_text_file(path, kMaxConfigBytes, "config file"));
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = trimmed(lines[i]);
    if (is_comment_or_blank(line)) continue;
    const std::string where = str("config file ", quoted(path), ", line ", i + 1);
    const size_t equals = line.find('=');
    std::string_view name = trimmed(line.substr(0, equals));
    while (name.starts_with("-")) name.remove_prefix(1);
    if (equals == std::string_view::npos || name.empty()) {
      problems.add(str("bad config line: ", quoted(std::string(line)),
                       " has no 'flag = value' form (", where, ")"));
      continue;
    }
    const auto value = value_of(trimmed(line.substr(equals + 1)));
    if (!value) {
      problems.add(str("bad config line: the quoted value of '", std::string(name),
                       "' is not closed or has more behind it (", where, ")"));
      continue;
    }
    add_file_setting(command, std::string(name),
                     Setting{.value = *value, .where = where, .origin = Origin::kConfig}, settings,
                     problems);
  }
  return settings;
}

}  // namespace t2v::cli
