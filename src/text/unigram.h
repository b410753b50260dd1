// The unigram language model of SentencePiece: the most likely way to cut a text into pieces.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/sentencepiece_file.h"

namespace t2v::text {

// Sums scores in double and takes the first of equal paths, as Hugging Face's tokenizers and
// current SentencePiece do. Older SentencePiece sums in float, so that long runs of one character
// come out in another order.
class Unigram {
 public:
  static constexpr int kUnknown = -1;
  struct Cut {
    std::string_view text;  // a piece, or one unknown character
    int id = kUnknown;
  };

  explicit Unigram(const std::vector<Piece>& pieces);
  // `normalized` is UTF-8 with U+2581 for spaces.
  [[nodiscard]] std::vector<Cut> split(std::string_view normalized) const;

 private:
  struct Entry {
    std::string text;
    double score = 0;
    int id = 0;
  };
  struct Best {  // the best path to an offset, by its last piece
    double score = 0;
    size_t begin = std::string_view::npos;
    int id = kUnknown;
  };
  // Offers every piece that starts at `begin`; true if one of them is `first` bytes long.
  bool extend(std::string_view text, size_t begin, size_t first, std::vector<Best>& best) const;

  std::vector<Entry> entries_;           // sorted by text
  std::array<size_t, 257> starts_ = {};  // first entry for each first byte
  double unknown_score_ = 0;
};

}  // namespace t2v::text
