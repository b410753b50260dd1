#include "media/json_object.h"

#include <array>
#include <charconv>
#include <cmath>

#include "core/utf8.h"

namespace t2v::media {
namespace {

std::string quoted(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const size_t length = core::utf8_sequence_length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0) {
      out += '?';
    } else if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[i];
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out + "\"";
}

}  // namespace

void JsonObject::add(std::string_view key, const std::string& value) {
  if (!body_.empty()) body_ += ", ";
  body_ += quoted(key) + ": " + value;
}

void JsonObject::add_text(std::string_view key, std::string_view value) {
  add(key, value.empty() ? "null" : quoted(value));
}

void JsonObject::add_number(std::string_view key, double value) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  add(key, std::isfinite(value) ? std::string(text.data(), end.ptr) : "null");
}

void JsonObject::add_integer(std::string_view key, long long value) {
  add(key, std::to_string(value));
}

}  // namespace t2v::media
