// Writes one flat JSON object.
#pragma once

#include <string>
#include <string_view>

namespace t2v::media {

class JsonObject {
 public:
  // Invalid UTF-8 becomes '?'; "" is written as null.
  void add_text(std::string_view key, std::string_view value);
  void add_number(std::string_view key, double value);  // not finite: null
  void add_integer(std::string_view key, long long value);
  [[nodiscard]] std::string text() const { return "{" + body_ + "}"; }

 private:
  void add(std::string_view key, const std::string& value);
  std::string body_;
};

}  // namespace t2v::media
