// Reads the golden files: one flat JSON object a line, of strings and lists of integers.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace t2v::test {

struct GoldenRow {
  std::map<std::string, std::string> strings;
  std::map<std::string, std::vector<int64_t>> lists;
};

class GoldenReader {
 public:
  explicit GoldenReader(std::string_view line) : rest_(line) {}

  GoldenRow row() {
    GoldenRow row;
    expect('{');
    while (true) {
      const std::string key = string();
      expect(':');
      if (peek() == '"') {
        row.strings[key] = string();
      } else {
        row.lists[key] = list();
      }
      if (peek() != ',') return row;
      expect(',');
    }
  }

 private:
  char peek() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_.front();
  }
  void expect(char c) {
    if (peek() != c) throw std::runtime_error("golden file: bad JSON near " + std::string(rest_));
    rest_.remove_prefix(1);
  }
  char take() {
    const char c = rest_.at(0);
    rest_.remove_prefix(1);
    return c;
  }
  char32_t hex4() {
    const auto value =
        static_cast<char32_t>(std::stoul(std::string(rest_.substr(0, 4)), nullptr, 16));
    rest_.remove_prefix(4);
    return value;
  }
  std::string string() {
    std::string out;
    expect('"');
    for (char c = take(); c != '"'; c = take()) {
      out += c;
      if (c != '\\') continue;
      out.pop_back();
      const char escape = take();
      constexpr std::string_view kLetters = "nrtbf", kMeant = "\n\r\t\b\f";
      if (escape == 'u') {
        text::append_utf8(hex4(), out);
      } else {
        const size_t letter = kLetters.find(escape);
        out += letter == std::string_view::npos ? escape : kMeant[letter];
      }
    }
    return out;
  }
  std::vector<int64_t> list() {
    std::vector<int64_t> out;
    for (expect('['); peek() != ']'; rest_.remove_prefix(peek() == ',')) {
      size_t used = 0;
      out.push_back(std::stoll(std::string(rest_.substr(0, 20)), &used));
      rest_.remove_prefix(used);
    }
    expect(']');
    return out;
  }

  std::string_view rest_;
};

inline std::vector<GoldenRow> read_golden(const std::string& name) {
  std::ifstream in(std::string(T2V_FIXTURES "/text/") + name);
  std::vector<GoldenRow> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(GoldenReader(line).row());
  return rows;
}

}  // namespace t2v::test
