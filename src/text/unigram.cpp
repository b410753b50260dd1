#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/utf8.h"

namespace t2v::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst piece
constexpr double kUserDefinedLoss = 0.1;

}  // namespace

Unigram::Unigram(const std::vector<Piece>& pieces) {
  double lowest = std::numeric_limits<double>::max();
  double highest = std::numeric_limits<double>::lowest();
  for (const Piece& piece : pieces) {
    if (piece.type != PieceType::kNormal) continue;
    lowest = std::min(lowest, double{piece.score});
    highest = std::max(highest, double{piece.score});
  }
  unknown_score_ = lowest - kUnknownPenalty;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const Piece& piece = pieces[id];
    double score = piece.score;
    if (piece.type == PieceType::kUserDefined) {  // better than any path of normal pieces
      score = static_cast<double>(piece.text.size()) * highest - kUserDefinedLoss;
    } else if (piece.type != PieceType::kNormal) {
      continue;
    }
    entries_.push_back({.text = piece.text, .score = score, .id = static_cast<int>(id)});
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.text < b.text; });
  for (const Entry& entry : entries_) ++starts_[static_cast<unsigned char>(entry.text[0]) + 1];
  for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
}

bool Unigram::extend(std::string_view text, size_t begin, size_t first,
                     std::vector<Best>& best) const {
  const auto lead = static_cast<unsigned char>(text[begin]);
  auto low = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[lead]);
  auto high = entries_.begin() + static_cast<std::ptrdiff_t>(starts_[lead + 1u]);
  bool has_first = false;
  // [low, high) are the pieces that share the first `length` bytes with the text.
  for (size_t length = 1; low != high; ++length) {
    if (low->text.size() == length) {
      Best& target = best[begin + length];
      const double score = best[begin].score + low->score;
      if (target.begin == std::string_view::npos || score > target.score) {
        target = {.score = score, .begin = begin, .id = low->id};
      }
      has_first |= length == first;
      ++low;
    }
    if (begin + length == text.size()) break;
    const auto next = static_cast<unsigned char>(text[begin + length]);
    const auto byte = [length](const Entry& e) {
      return static_cast<unsigned char>(e.text[length]);
    };
    low = std::partition_point(low, high, [&](const Entry& e) { return byte(e) < next; });
    high = std::partition_point(low, high, [&](const Entry& e) { return byte(e) == next; });
  }
  return has_first;
}

std::vector<Unigram::Cut> Unigram::split(std::string_view text) const {
  std::vector<Best> best(text.size() + 1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t first = core::utf8_sequence_length(text.substr(begin));
    T2V_ASSERT(first > 0);
    if (!extend(text, begin, first, best)) {
      Best& target = best[begin + first];
      const double score = best[begin].score + unknown_score_;
      if (target.begin == std::string_view::npos || score > target.score) {
        target = {.score = score, .begin = begin, .id = kUnknown};
      }
    }
    begin += first;
  }
  std::vector<Cut> cuts;
  for (size_t end = text.size(); end > 0; end = best[end].begin) {
    const size_t begin = best[end].begin;
    cuts.push_back({.text = text.substr(begin, end - begin), .id = best[end].id});
  }
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace t2v::text
