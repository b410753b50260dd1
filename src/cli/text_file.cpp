#include "cli/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "cli/problems.h"
#include "cli/signals.h"
#include "core/check.h"
#include "core/utf8.h"

namespace t2v::cli {
namespace {

using core::str;

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Closes what it opened; standard input stays open.
class InputFile {
 public:
  InputFile(const std::string& path, const std::string& what)
      : fd_(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    T2V_REQUIRE(fd_ >= 0, ErrorKind::kInput, "cannot read ", what, ": ", std::strerror(errno), " (",
                quoted(path), ")");
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() {
    if (fd_ != STDIN_FILENO) ::close(fd_);
  }
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

void check_encoding_mark(const std::string& text, const std::string& what,
                         const std::string& where) {
  const bool utf16 = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff");
  T2V_REQUIRE(!utf16, ErrorKind::kInput, what, " is not valid UTF-8: it looks like UTF-16 (", where,
              "); try saving it as UTF-8");
}

// ", line 7" of a text that has more than one line before the offset.
std::string place_of(const std::string& text, size_t offset) {
  const auto lines = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(offset), '\n');
  return lines == 0 ? "" : str(", line ", lines + 1);
}

}  // namespace

std::string read_text_file(const std::string& path, size_t max_bytes, const std::string& what) {
  const std::string where = path == "-" ? "standard input" : quoted(path);
  const InputFile file(path, what);
  struct stat status {};
  T2V_REQUIRE(::fstat(file.fd(), &status) != 0 || !S_ISDIR(status.st_mode), ErrorKind::kInput,
              "cannot read ", what, ": it is a folder (", where, ")");
  std::string text;
  std::string block(1 << 16, '\0');
  while (true) {
    const ssize_t got = ::read(file.fd(), block.data(), block.size());
    if (got == 0) break;
    if (got < 0 && errno == EINTR) {
      throw_if_interrupted();
      continue;
    }
    T2V_REQUIRE(got > 0, ErrorKind::kInput, "cannot read ", what, ": ", std::strerror(errno), " (",
                where, ")");
    text.append(block, 0, static_cast<size_t>(got));
    T2V_REQUIRE(text.size() <= max_bytes, ErrorKind::kInput, what, " is too long: more than ",
                max_bytes, " bytes (", where, ")");
  }
  check_encoding_mark(text, what, where);
  require_clean_text(text, what, where);
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return text;
}

void require_clean_text(const std::string& text, const std::string& what,
                        const std::string& where) {
  const size_t nul = text.find('\0');
  T2V_REQUIRE(nul == std::string::npos, ErrorKind::kInput, what, " contains a NUL byte at offset ",
              nul, place_of(text, nul), " (", where, ")");
  const size_t invalid = core::find_invalid_utf8(text);
  if (invalid == std::string_view::npos) return;
  char byte[8];
  std::snprintf(byte, sizeof byte, "0x%02x",
                static_cast<unsigned>(static_cast<unsigned char>(text[invalid])));
  throw Error(ErrorKind::kInput, str(what, " is not valid UTF-8: byte ", byte, " at offset ",
                                     invalid, place_of(text, invalid), " (", where, ")"));
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  return lines;
}

}  // namespace t2v::cli
