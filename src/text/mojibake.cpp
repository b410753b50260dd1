#include "text/mojibake.h"

#include <cstdint>
#include <iterator>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/utf8.h"
#include "text/mojibake_rules.h"
#include "text/unicode.h"

namespace t2v::text {
namespace {

#include "text/byte_encodings.inc"

// Rows of kHighHalves, in the order in which they are tried.
constexpr size_t kLatin1 = 0;
constexpr size_t kWindows1252 = 1;
constexpr size_t kLastSloppy = 6;  // 1-6 let U+FFFD pass as byte 0x1A
constexpr size_t kMacRoman = 8;
constexpr char kLost = 0x1A;

using ByteMap = std::unordered_map<char32_t, char>;

bool is_sloppy(size_t encoding) { return encoding != kLatin1 && encoding <= kLastSloppy; }

const ByteMap& byte_map(size_t encoding) {
  static const auto maps = [] {
    std::vector<ByteMap> made(std::size(kHighHalves));
    for (size_t e = 0; e < made.size(); ++e) {
      for (size_t i = 0; i < 128; ++i) made[e][kHighHalves[e][i]] = static_cast<char>(128 + i);
      if (is_sloppy(e)) made[e][kReplacement] = kLost;
    }
    return made;
  }();
  return maps[encoding];
}

std::optional<std::string> encode(std::u32string_view text, size_t encoding) {
  const ByteMap& map = byte_map(encoding);
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80 && !(c == kLost && is_sloppy(encoding))) {
      bytes += static_cast<char>(c);
      continue;
    }
    const auto it = map.find(c);
    if (it == map.end()) return std::nullopt;
    bytes += it->second;
  }
  return bytes;
}

// A window on bytes that reads past the end as 0, which no test below accepts.
class Bytes {
 public:
  Bytes(std::string_view bytes, size_t at) : bytes_(bytes), at_(at) {}
  unsigned operator[](size_t i) const {
    return at_ + i < bytes_.size() ? static_cast<unsigned char>(bytes_[at_ + i]) : 0u;
  }
  bool in(size_t i, unsigned low, unsigned high) const {
    return (*this)[i] >= low && (*this)[i] <= high;
  }
  bool is(size_t i, char c) const { return at_ + i < bytes_.size() && bytes_[at_ + i] == c; }

 private:
  std::string_view bytes_;
  size_t at_;
};

// Length of a UTF-8 sequence in which one byte 0xA0 became a space; 0 if there is none here.
size_t spaced_sequence(std::string_view bytes, size_t at) {
  const Bytes b(bytes, at);
  const auto tail = [&](size_t i) { return b.in(i, 0x80, 0xBF); };
  const auto likely = [&](size_t i) { return tail(i) && b[i] != 0x85 && b[i] != 0xA0; };
  constexpr std::string_view kFirstOf2 = "\xC2\xC3\xC5\xCE\xD0\xD9";
  if (kFirstOf2.find(static_cast<char>(b[0])) != std::string_view::npos && b.is(1, ' ')) return 2;
  if (b.in(0, 0xE2, 0xE3) && b.is(1, ' ') && likely(2)) return 3;
  if (b.in(0, 0xE0, 0xE3) && likely(1) && b.is(2, ' ')) return 3;
  if (b[0] != 0xF0) return 0;
  const int spaces = b.is(1, ' ') + b.is(2, ' ') + b.is(3, ' ');
  const int tails = tail(1) + tail(2) + tail(3);
  return spaces == 1 && tails == 2 ? 4 : 0;
}

// A lone "Ã " is the word "à" and keeps its space, but for a few Portuguese words.
std::string restore_grave_words(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    out += bytes[i];
    if (!bytes.substr(i).starts_with("\xC3 ")) continue;
    const std::string_view next = bytes.substr(i + 2);
    if (next.starts_with(' ') || next.starts_with("quele") || next.starts_with("quela") ||
        next.starts_with("quilo") || next.starts_with("s ")) {
      continue;
    }
    out += "\xA0 ";
    ++i;
  }
  return out;
}

// Gives sequences that would be UTF-8 but for a space in place of 0xA0 that byte back.
std::string restore_byte_a0(std::string bytes) {
  bool any = false;
  for (size_t i = 0; i < bytes.size() && !any; ++i) any = spaced_sequence(bytes, i) != 0;
  if (!any) return bytes;
  std::string out = restore_grave_words(bytes);
  for (size_t i = 0; i < out.size();) {
    const size_t length = spaced_sequence(out, i);
    for (size_t k = 0; k < length; ++k) {
      if (out[i + k] == ' ') out[i + k] = '\xA0';
    }
    i += length ? length : 1;
  }
  return out;
}

// Length of a sequence (UTF-8 or CESU-8) that lost bytes (0x1A, or one '?'); 0 if there is none.
size_t lossy_sequence(std::string_view bytes, size_t at) {
  const Bytes b(bytes, at);
  const auto lost = [&](size_t i) { return b.is(i, kLost); };
  const auto gone = [&](size_t i) { return lost(i) || b.is(i, '?'); };
  const auto tail = [&](size_t i) { return b.in(i, 0x80, 0xBF); };
  const auto part = [&](size_t i) { return tail(i) || lost(i); };
  if (b.in(0, 0xC2, 0xDF) && lost(1)) return 2;
  if (b.in(0, 0xC2, 0xC3) && b.is(1, '?')) return 2;
  if (b[0] == 0xED && b.in(1, 0xA0, 0xAF) && b[3] == 0xED && b.in(4, 0xB0, 0xBF) &&
      ((gone(2) && (gone(5) || tail(5))) || ((gone(2) || tail(2)) && gone(5)))) {
    return 6;
  }
  if (b.in(0, 0xE0, 0xEF) && ((gone(1) && part(2)) || (part(1) && gone(2)))) return 3;
  if (b.in(0, 0xF0, 0xF4) && ((gone(1) && part(2) && part(3)) || (part(1) && gone(2) && part(3)) ||
                              (part(1) && part(2) && gone(3)))) {
    return 4;
  }
  return lost(0) ? 1 : 0;
}

std::string replace_lossy(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const size_t length = lossy_sequence(bytes, i);
    if (length == 0) {
      out += bytes[i++];
    } else {
      out += "\xEF\xBF\xBD";
      i += length;
    }
  }
  return out;
}

// UTF-8, and with it Java's two-byte NUL and surrogate pairs of three bytes each (CESU-8).
std::optional<std::u32string> decode(std::string_view bytes) {
  std::u32string out;
  for (size_t i = 0; i < bytes.size();) {
    const Bytes b(bytes, i);
    if (const size_t length = core::utf8_sequence_length(bytes.substr(i))) {
      out += decode_utf8(bytes.substr(i, length));
      i += length;
    } else if (b[0] == 0xC0 && b[1] == 0x80) {
      out += U'\0';
      i += 2;
    } else if (b[0] == 0xED && b.in(1, 0xA0, 0xAF) && b.in(2, 0x80, 0xBF) && b[3] == 0xED &&
               b.in(4, 0xB0, 0xBF) && b.in(5, 0x80, 0xBF)) {
      out += static_cast<char32_t>(0x10000 + ((b[1] & 0x0F) << 16) + ((b[2] & 0x3F) << 10) +
                                   ((b[4] & 0x0F) << 6) + (b[5] & 0x3F));
      i += 6;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

// Reads the text's bytes in one encoding as UTF-8.
std::optional<std::u32string> reread(std::string bytes, size_t encoding) {
  if (encoding != kMacRoman) bytes = restore_byte_a0(std::move(bytes));
  if (is_sloppy(encoding)) bytes = replace_lossy(bytes);
  return decode(bytes);
}

// Repairs parts of the text that look like UTF-8 on their own.
std::u32string repair_parts(std::u32string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_like_run(text, i);
    const std::u32string_view part = text.substr(i, length);
    if (length != 0 && length < text.size() && looks_garbled(part)) {
      out += repair_mojibake(part);
    } else {
      out += text.substr(i, length ? length : 1);
    }
    i += length ? length : 1;
  }
  return out;
}

// Latin-1 that was meant to be Windows-1252: changed only if all of it can be.
std::optional<std::u32string> as_windows1252(std::u32string_view text) {
  std::u32string out(text);
  for (char32_t& c : out) {
    if (c < 0x80 || c > 0x9F) continue;
    const char32_t meant = kHighHalves[kWindows1252][c - 0x80];
    if (meant == c) return std::nullopt;
    c = meant;
  }
  return out;
}

std::u32string repair_step(std::u32string_view text) {
  if (!looks_garbled(text)) return std::u32string(text);
  bool is_latin1 = false;
  for (size_t encoding = 0; encoding < std::size(kHighHalves); ++encoding) {
    auto bytes = encode(text, encoding);
    if (!bytes) continue;
    is_latin1 |= encoding == kLatin1;
    if (auto fixed = reread(std::move(*bytes), encoding)) return *std::move(fixed);
  }
  if (auto fixed = repair_parts(text); fixed != text) return fixed;
  if (is_latin1) {
    if (auto fixed = as_windows1252(text); fixed && *fixed != text) return *std::move(fixed);
  }
  std::u32string fixed(text);
  replace_c1_controls(fixed);
  return fixed;
}

}  // namespace

std::u32string repair_mojibake(std::u32string_view text) {
  std::u32string now(text);
  while (true) {
    std::u32string next = repair_step(now);
    if (next == now) return now;
    now = std::move(next);
  }
}

void replace_c1_controls(std::u32string& text) {
  for (char32_t& c : text) {
    if (c >= 0x80 && c <= 0x9F) c = kHighHalves[kWindows1252][c - 0x80];
  }
}

}  // namespace t2v::text
