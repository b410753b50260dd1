#include "text/sentencepiece_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/utf8.h"

namespace t2v::text {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxModelBytes = 256u << 20;  // the largest known vocabularies have 10 MB
constexpr size_t kMaxPieces = 16u << 20;

// Field numbers of sentencepiece_model.proto.
enum ModelField : uint64_t {
  kPieces = 1,
  kTrainerSpec = 2,
  kNormalizerSpec = 3,
  kDenormalizer = 5
};
enum PieceField : uint64_t { kPieceText = 1, kPieceScore = 2, kPieceType = 3 };
enum TrainerField : uint64_t { kModelType = 3 };
enum NormalizerField : uint64_t { kCharsMap = 2 };
constexpr uint64_t kUnigram = 1;  // of kModelType; its default
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  uint64_t wire_type = 0;
  uint64_t value = 0;      // kVarint, kFixed32, kFixed64
  std::string_view bytes;  // kBytes
};

// Walks the fields of one protobuf message. A broken message ends the walk with ok() false.
class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}
  [[nodiscard]] bool ok() const { return ok_; }

  bool next(Field& field) {
    if (rest_.empty() || !ok_) return false;
    const auto tag = varint();
    if (!tag || *tag >> 3 == 0) return fail();
    field = {.number = *tag >> 3, .wire_type = *tag & 7, .value = 0, .bytes = {}};
    if (field.wire_type == kVarint) {
      const auto value = varint();
      if (!value) return fail();
      field.value = *value;
      return true;
    }
    uint64_t size = 4;
    if (field.wire_type == kFixed64) size = 8;
    if (field.wire_type == kBytes) {
      const auto length = varint();
      if (!length) return fail();
      size = *length;
    }
    const bool known =
        field.wire_type == kFixed64 || field.wire_type == kFixed32 || field.wire_type == kBytes;
    if (!known || size > rest_.size()) return fail();
    field.bytes = rest_.substr(0, size);
    if (field.wire_type != kBytes) std::memcpy(&field.value, field.bytes.data(), size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  bool fail() {
    ok_ = false;
    return false;
  }

  std::optional<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view rest_;
  bool ok_ = true;
};

static_assert(std::endian::native == std::endian::little, "fixed-size fields are read as they lie");

// All of these return "" or what is wrong.

std::string read_piece(std::string_view message, Piece& piece) {
  FieldReader reader(message);
  Field field;
  auto type = static_cast<uint64_t>(PieceType::kNormal);
  while (reader.next(field)) {
    if (field.number == kPieceText && field.wire_type == kBytes) piece.text = field.bytes;
    if (field.number == kPieceType && field.wire_type == kVarint) type = field.value;
    if (field.number == kPieceScore && field.wire_type == kFixed32) {
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    }
  }
  if (!reader.ok()) return "is broken";
  if (piece.text.empty()) return "is empty";
  if (core::find_invalid_utf8(piece.text) != std::string_view::npos) return "is not UTF-8";
  if (piece.text.find('\0') != std::string::npos) return "holds a NUL byte";
  if (!std::isfinite(piece.score)) return "has no finite score";
  if (type < 1 || type > static_cast<uint64_t>(PieceType::kByte)) return "is of an unknown type";
  piece.type = static_cast<PieceType>(type);
  return "";
}

// The table is: size of the trie in bytes (u32), the trie (a double array), replacement texts that
// each end in NUL. The library follows the trie's offsets without looking.
std::string check_chars_map(std::string_view map) {
  if (map.empty()) return "";
  uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) return "is truncated";
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes > map.size() || trie_bytes % 4 != 0 || trie_bytes < 1024) return "is truncated";
  const std::string_view texts = map.substr(trie_bytes);
  if (texts.empty() || texts.back() != '\0') return "does not end in NUL";
  if (core::find_invalid_utf8(texts) != std::string_view::npos) return "is not UTF-8";
  const uint32_t num_units = trie_bytes / 4;
  for (uint32_t i = 0; i < num_units; ++i) {
    uint32_t unit = 0;
    std::memcpy(&unit, map.data() + size_t{i} * 4, sizeof unit);
    if (unit >> 31) {  // a value: where its text starts
      if ((unit & 0x7FFFFFFFu) >= texts.size()) return "points outside of its texts";
      continue;
    }
    const uint32_t children = i ^ ((unit >> 10) << ((unit & (1u << 9)) >> 6));
    if ((children | 0xFFu) >= num_units) return "points outside of its trie";
  }
  return "";
}

std::string check_normalizer(std::string_view message) {
  FieldReader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number != kCharsMap || field.wire_type != kBytes) continue;
    if (const std::string why = check_chars_map(field.bytes); !why.empty()) {
      return "its normalizer table " + why;
    }
  }
  return reader.ok() ? "" : "its normalizer settings are broken";
}

std::string read_trainer(std::string_view message, SentencePieceFile& file) {
  FieldReader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number == kModelType && field.wire_type == kVarint) {
      file.is_unigram = field.value == kUnigram;
    }
  }
  return reader.ok() ? "" : "its trainer settings are broken";
}

std::string read_model(SentencePieceFile& file) {
  FieldReader reader(file.bytes);
  Field field;
  bool has_trainer = false, has_normalizer = false;
  std::string why;
  while (why.empty() && reader.next(field)) {
    if (field.number <= kDenormalizer && field.wire_type != kBytes)
      return "not a SentencePiece model";
    if (field.number == kPieces) {
      why = read_piece(field.bytes, file.pieces.emplace_back());
      if (!why.empty()) why = core::str("its piece ", file.pieces.size() - 1, ' ', why);
    } else if (field.number == kTrainerSpec) {
      has_trainer = true;
      why = read_trainer(field.bytes, file);
    } else if (field.number == kNormalizerSpec || field.number == kDenormalizer) {
      has_normalizer |= field.number == kNormalizerSpec;
      why = check_normalizer(field.bytes);
    }
  }
  const size_t num_pieces = file.pieces.size();
  if (num_pieces == 0) return "not a SentencePiece model";
  if (!why.empty()) return why;
  if (!reader.ok()) return core::str("broken or truncated after piece ", num_pieces - 1);
  if (num_pieces > kMaxPieces) return core::str("it has ", num_pieces, " pieces");
  const auto num_unknown =
      std::count_if(file.pieces.begin(), file.pieces.end(),
                    [](const Piece& piece) { return piece.type == PieceType::kUnknown; });
  if (num_unknown != 1) return core::str("it has ", num_unknown, " unknown pieces, expected 1");
  if (!has_trainer || !has_normalizer) return "truncated: it has no settings after its pieces";
  return "";
}

// The whole file, if it is a regular, non-empty file of sane size.
std::string read_bytes(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  T2V_REQUIRE(fs::exists(status), ErrorKind::kModel, "tokenizer: there is no such file (", path,
              ")");
  T2V_REQUIRE(!fs::is_directory(status), ErrorKind::kModel,
              "tokenizer: this is a folder, expected a SentencePiece model file (", path,
              "); try its spiece.model");
  T2V_REQUIRE(fs::is_regular_file(status), ErrorKind::kModel, "tokenizer: not a regular file (",
              path, ")");
  const uint64_t size = fs::file_size(path, error);
  T2V_REQUIRE(!error, ErrorKind::kModel, "tokenizer: cannot read: ", error.message(), " (", path,
              ")");
  T2V_REQUIRE(size > 0, ErrorKind::kModel, "tokenizer: the file is empty (", path, ")");
  T2V_REQUIRE(size <= kMaxModelBytes, ErrorKind::kModel, "tokenizer: the file has ", size,
              " bytes, too many for a SentencePiece model (", path, ")");
  std::string bytes(size, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  T2V_REQUIRE(in && in.gcount() == static_cast<std::streamsize>(size), ErrorKind::kModel,
              "tokenizer: cannot read the file (", path, ")");
  return bytes;
}

}  // namespace

SentencePieceFile read_sentencepiece(const std::string& path) {
  return parse_sentencepiece(read_bytes(path), path);
}

SentencePieceFile parse_sentencepiece(std::string bytes, const std::string& name) {
  T2V_REQUIRE(!bytes.empty(), ErrorKind::kModel, "tokenizer: the file is empty (", name, ")");
  SentencePieceFile file;
  file.bytes = std::move(bytes);
  const std::string why = read_model(file);
  T2V_REQUIRE(why.empty(), ErrorKind::kModel,
              "tokenizer: cannot use the SentencePiece model: ", why, " (", name, ")");
  return file;
}

}  // namespace t2v::text
