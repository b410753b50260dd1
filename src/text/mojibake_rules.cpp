#include "text/mojibake_rules.h"

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <iterator>
#include <vector>

#include "text/unicode.h"

namespace t2v::text {
namespace {

struct CharClasses {
  char32_t point;
  uint64_t bits[2];  // one bit per class
};

struct Rule {
  uint8_t length;
  uint8_t classes[7];
};

#include "text/mojibake_rules.inc"

// Classes with a fixed number; the generator puts them first.
enum FixedClass : unsigned {
  kFirstOf2,
  kFirstOf3,
  kFirstOf4,
  kContinuation,
  kContinuationStrict,
  kWord,
  kAny,
  kNotLatin,
  kStart,
};

using Classes = std::bitset<128>;

Classes classes_of(char32_t c) {
  const auto* const end = std::end(kCharClasses);
  const auto* const it = std::lower_bound(
      std::begin(kCharClasses), end, c,
      [](const CharClasses& entry, char32_t point) { return entry.point < point; });
  if (it != end && it->point == c) return Classes(it->bits[0]) | (Classes(it->bits[1]) << 64);
  Classes classes;
  classes.set(kWord, is_word(c));
  classes.set(kAny, c != U'\n');
  classes.set(kNotLatin, !((c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z')));
  return classes;
}

bool matches(const Rule& rule, const std::vector<Classes>& text, size_t at) {
  for (size_t i = 0; i < rule.length; ++i) {
    const unsigned wanted = rule.classes[i];
    if (wanted == kStart) {  // takes no character
      if (at != 0) return false;
      continue;
    }
    if (at >= text.size() || !text[at].test(wanted)) return false;
    ++at;
  }
  return true;
}

// How many characters of the kind `rest` follow the one at `at`, up to `wanted`.
bool followed_by(std::u32string_view text, size_t at, size_t wanted) {
  if (at + wanted >= text.size()) return false;
  for (size_t i = 1; i <= wanted; ++i) {
    if (!classes_of(text[at + i]).test(kContinuation)) return false;
  }
  return true;
}

}  // namespace

bool looks_garbled(std::u32string_view text) {
  // Every rule but those that start with a Latin letter or at the start needs a character of the
  // table; plain ASCII is never garbled enough to matter.
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; })) return false;
  std::vector<Classes> classes;
  classes.reserve(text.size());
  for (const char32_t c : text) classes.push_back(classes_of(c));
  const Classes plain = Classes().set(kWord).set(kAny).set(kNotLatin);
  for (size_t at = 0; at < text.size(); ++at) {
    if ((classes[at] & ~plain).none()) continue;  // no rule starts here
    for (const Rule& rule : kRules) {
      if (matches(rule, classes, at)) return true;
    }
  }
  return false;
}

size_t utf8_like_run(std::u32string_view text, size_t at) {
  if (at > 0 && classes_of(text[at - 1]).test(kContinuationStrict)) return 0;
  size_t end = at;
  while (end < text.size()) {
    const Classes first = classes_of(text[end]);
    if (first.test(kFirstOf2) && followed_by(text, end, 1)) {
      end += 2;
    } else if (first.test(kFirstOf3) && followed_by(text, end, 2)) {
      end += 3;
    } else if (first.test(kFirstOf4) && followed_by(text, end, 3)) {
      end += 4;
    } else {
      break;
    }
  }
  return end - at;
}

}  // namespace t2v::text
