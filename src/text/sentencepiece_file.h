// Reads a SentencePiece model file and checks what its library takes on trust.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace t2v::text {

enum class PieceType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct SentencePieceFile {
  std::string bytes;
  std::vector<Piece> pieces;  // by id
  bool is_unigram = true;     // else BPE, words or characters
};

// Throws Error{kModel}, which names the file, unless it is a complete SentencePiece model:
// well-formed, with pieces (exactly one unknown piece), trainer and normalizer settings, and a
// normalizer table that does not point outside of itself.
SentencePieceFile read_sentencepiece(const std::string& path);
// The same for a file's content; name is for messages.
SentencePieceFile parse_sentencepiece(std::string bytes, const std::string& name);

}  // namespace t2v::text
