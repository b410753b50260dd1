// Records of a CSV file (RFC 4180): quotes, quoted line ends, LF and CRLF; # lines are left out.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace t2v::cli {

struct CsvField {
  std::string text;
  bool quoted = false;  // "" was written on purpose, an empty field was left out
};

struct CsvRecord {
  std::vector<CsvField> fields;
  size_t line = 0;  // where it begins, 1-based
};

// Blank lines and records that begin with # (without quotes) are left out. Throws Error{kInput}
// naming path and line: an open quote, text behind a closing one, more than 1,000 fields.
std::vector<CsvRecord> read_csv(const std::string& text, const std::string& path);

}  // namespace t2v::cli
