// Text that a user wrote: read whole, bounded, checked to be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace t2v::cli {

// path: a file, or "-" for standard input. what: "prompt file" and the like, for messages.
// A byte-order mark is removed. Throws Error{kInput}: absent, a folder, unreadable, more than
// max_bytes, NUL byte, not UTF-8 (with the byte's offset); Error{kCancelled} on a signal.
std::string read_text_file(const std::string& path, size_t max_bytes, const std::string& what);

// Throws Error{kInput} naming the offset of the first NUL or byte that is not UTF-8.
void require_clean_text(const std::string& text, const std::string& what, const std::string& where);

// LF, CRLF and CR end a line; no empty line after the last end.
std::vector<std::string> split_lines(const std::string& text);

}  // namespace t2v::cli
