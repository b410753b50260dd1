#include "cli/csv_lines.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "cli/problems.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

constexpr size_t kMaxFields = 1000;  // more are no prompt file

// Walks over the text once.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  std::vector<CsvRecord> records() {
    std::vector<CsvRecord> all;
    while (at_ < text_.size()) {
      if (text_[at_] == '#') {
        at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
        end_line();
        continue;
      }
      CsvRecord record = read_record();
      const bool blank = record.fields.size() == 1 && !record.fields[0].quoted &&
                         record.fields[0].text.find_first_not_of(" \t") == std::string::npos;
      if (!blank) all.push_back(std::move(record));
    }
    return all;
  }

 private:
  CsvRecord read_record() {
    CsvRecord record{.fields = {}, .line = line_};
    for (;;) {
      T2V_REQUIRE(record.fields.size() < kMaxFields, ErrorKind::kInput, "bad line: more than ",
                  kMaxFields, " fields (", where(record.line),
                  "); try quotes around text with commas");
      record.fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted_field()
                                                                      : plain_field());
      if (at_ < text_.size() && text_[at_] == ',') {
        ++at_;
        continue;
      }
      end_line();
      return record;
    }
  }

  CsvField plain_field() {
    const size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
    CsvField field{.text = std::string(text_.substr(at_, end - at_)), .quoted = false};
    at_ = end;
    return field;
  }

  CsvField quoted_field() {
    const size_t begin = line_;
    CsvField field{.text = {}, .quoted = true};
    for (++at_;;) {
      const size_t end = text_.find('"', at_);
      T2V_REQUIRE(end != std::string_view::npos, ErrorKind::kInput,
                  "bad line: a quote is opened and never closed (", where(begin),
                  "); try two quotes (\"\") for one inside a quoted field");
      const std::string_view part = text_.substr(at_, end - at_);
      field.text += part;
      line_ += static_cast<size_t>(std::count(part.begin(), part.end(), '\n'));
      at_ = end + 1;
      if (at_ >= text_.size() || text_[at_] != '"') break;
      field.text += '"';
      ++at_;
    }
    const bool ended =
        at_ >= text_.size() || std::string_view(",\r\n").find(text_[at_]) != std::string_view::npos;
    T2V_REQUIRE(ended, ErrorKind::kInput, "bad line: text behind a closing quote (", where(line_),
                "); try two quotes (\"\") for one inside a quoted field");
    return field;
  }

  // LF, CRLF or CR.
  void end_line() {
    if (at_ >= text_.size()) return;
    at_ += text_.compare(at_, 2, "\r\n") == 0 ? 2 : 1;
    ++line_;
  }

  [[nodiscard]] std::string where(size_t line) const {
    return core::str("prompt file ", quoted(path_), ", line ", line);
  }

  std::string_view text_;
  const std::string& path_;
  size_t at_ = 0;
  size_t line_ = 1;
};

}  // namespace

std::vector<CsvRecord> read_csv(const std::string& text, const std::string& path) {
  return CsvReader(text, path).records();
}

}  // namespace t2v::cli
