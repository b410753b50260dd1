#include "text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "core/check.h"
#include "text/sentencepiece_file.h"
#include "text/unigram.h"

namespace t2v::text {
namespace {

constexpr int64_t kDefaultExtraIds = 100;  // T5's own
constexpr int64_t kMaxExtraIds = 100'000;
constexpr size_t kMaxConfigBytes = 16u << 20;
constexpr std::string_view kExtraHead = "<extra_id_";

// A decimal number without sign or leading zeros at the start of text; its digits are removed.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto digits = static_cast<size_t>(result.ptr - text.data());
  if (result.ec != std::errc{} || text[0] == '-' || (text[0] == '0' && digits > 1)) {
    return std::nullopt;
  }
  text.remove_prefix(digits);
  return value;
}

// The N of `<extra_id_N>` at the start of text; the token is removed.
std::optional<int64_t> take_extra_id(std::string_view& text) {
  if (!text.starts_with(kExtraHead)) return std::nullopt;
  std::string_view rest = text.substr(kExtraHead.size());
  const auto number = take_number(rest);
  if (!number || !rest.starts_with('>')) return std::nullopt;
  text = rest.substr(1);
  return number;
}

// "" when there is none of a sane size.
std::string read_config(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "";
  if (std::filesystem::file_size(path, error) > kMaxConfigBytes || error) return "";
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// "extra_ids" of a tokenizer_config.json, else one more than the highest `<extra_id_N>` in it.
// Only these two facts are needed here, so the text is searched and not parsed.
std::optional<int64_t> extra_ids_of_config(std::string_view config) {
  constexpr std::string_view kKey = "\"extra_ids\"";
  if (const size_t key = config.find(kKey); key != std::string_view::npos) {
    const size_t value = config.find_first_not_of(" \t\r\n:", key + kKey.size());
    std::string_view rest = config.substr(std::min(value, config.size()));
    if (const auto number = take_number(rest)) return number;
  }
  std::optional<int64_t> found;
  for (size_t at = config.find(kExtraHead); at != std::string_view::npos;
       at = config.find(kExtraHead, at + 1)) {
    std::string_view rest = config.substr(at);
    if (const auto number = take_extra_id(rest)) found = std::max(found.value_or(0), *number + 1);
  }
  return found;
}

std::string_view trim_spaces(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

}  // namespace

struct Tokenizer::Model {
  Model(const SentencePieceFile& file, const std::string& name);

  // The text after the model's own normalizer.
  std::string normalized(std::string_view text) const;
  void add_unknown(std::string_view character, std::vector<int64_t>& ids) const;

  sentencepiece::SentencePieceProcessor processor;
  std::optional<Unigram> unigram;
  std::vector<std::pair<std::string, int64_t>> specials;  // pieces that stand for themselves
  std::vector<int64_t> byte_ids;  // by byte; empty if the model has no pieces for bytes
};

Tokenizer::Model::Model(const SentencePieceFile& file, const std::string& name) {
  const auto status = processor.LoadFromSerializedProto(file.bytes);
  T2V_REQUIRE(status.ok(), ErrorKind::kModel,
              "tokenizer: cannot use the SentencePiece model: ", status.error_message(), " (", name,
              ")");
  if (file.is_unigram) unigram.emplace(file.pieces);
  size_t num_bytes = 0;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const Piece& piece = file.pieces[id];
    num_bytes += piece.type == PieceType::kByte;
    if (piece.type == PieceType::kControl || piece.type == PieceType::kUnknown) {
      specials.emplace_back(piece.text, id);
    }
  }
  if (num_bytes == 0) return;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const char piece[] = {
        '<', '0', 'x', kHex[static_cast<size_t>(byte >> 4)], kHex[static_cast<size_t>(byte & 15)],
        '>', '\0'};
    byte_ids.push_back(processor.PieceToId(piece));
  }
}

std::string Tokenizer::Model::normalized(std::string_view text) const {
  std::string out;
  const auto pieces = processor.EncodeAsImmutableProto(text);
  for (size_t i = 0; i < pieces.pieces_size(); ++i) {
    const auto piece = pieces.pieces(static_cast<int>(i));
    const auto byte = processor.IsByte(static_cast<int>(piece.id()))
                          ? std::find(byte_ids.begin(), byte_ids.end(), piece.id())
                          : byte_ids.end();
    if (byte != byte_ids.end()) {
      out += static_cast<char>(byte - byte_ids.begin());
    } else {
      out += piece.piece();
    }
  }
  return out;
}

// Its bytes where the model has pieces for them; else one unknown id for a run of characters.
void Tokenizer::Model::add_unknown(std::string_view character, std::vector<int64_t>& ids) const {
  for (const char c : byte_ids.empty() ? std::string_view() : character) {
    ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
  }
  const int64_t unknown = processor.unk_id();
  if (byte_ids.empty() && (ids.empty() || ids.back() != unknown)) ids.push_back(unknown);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer::Tokenizer(const std::string& model_path, std::optional<int64_t> num_extra_ids)
    : Tokenizer(std::make_unique<Model>(read_sentencepiece(model_path), model_path),
                num_extra_ids ? num_extra_ids
                              : extra_ids_of_config(
                                    read_config(std::filesystem::path(model_path).parent_path() /
                                                "tokenizer_config.json")),
                model_path) {}

Tokenizer Tokenizer::from_bytes(std::string bytes, const std::string& name, std::string_view config,
                                std::optional<int64_t> num_extra_ids) {
  return Tokenizer(std::make_unique<Model>(parse_sentencepiece(std::move(bytes), name), name),
                   num_extra_ids ? num_extra_ids : extra_ids_of_config(config), name);
}

int64_t count_vocabulary(std::string bytes, const std::string& name, std::string_view config,
                         std::optional<int64_t> num_extra_ids) {
  const SentencePieceFile file = parse_sentencepiece(std::move(bytes), name);
  if (!num_extra_ids) num_extra_ids = extra_ids_of_config(config);
  return static_cast<int64_t>(file.pieces.size()) + num_extra_ids.value_or(kDefaultExtraIds);
}

Tokenizer::Tokenizer(std::unique_ptr<Model> model, std::optional<int64_t> num_extra_ids,
                     const std::string& name)
    : model_(std::move(model)) {
  const auto& processor = model_->processor;
  num_pieces_ = processor.GetPieceSize();
  pad_id_ = processor.pad_id();
  eos_id_ = processor.eos_id();
  unk_id_ = processor.unk_id();
  T2V_REQUIRE(pad_id_ >= 0 && eos_id_ >= 0, ErrorKind::kModel, "tokenizer: the model has no ",
              pad_id_ < 0 ? "padding" : "end", " token; is this an (u)mT5 tokenizer? (", name, ")");
  num_extra_ids_ = num_extra_ids.value_or(kDefaultExtraIds);
  T2V_REQUIRE(num_extra_ids_ >= 0 && num_extra_ids_ <= kMaxExtraIds, ErrorKind::kModel,
              "tokenizer: extra_ids is ", num_extra_ids_, ", expected 0 to ", kMaxExtraIds, " (",
              name, ")");
}

std::optional<Tokenizer::Special> Tokenizer::special_at(std::string_view text) const {
  std::optional<Special> best;
  for (const auto& [piece, id] : model_->specials) {
    if (text.starts_with(piece) && (!best || piece.size() > best->length)) {
      best = Special{.id = id, .length = piece.size()};
    }
  }
  if (best) return best;
  std::string_view rest = text;
  const auto number = take_extra_id(rest);
  if (!number || *number >= num_extra_ids_) return std::nullopt;
  const size_t length = text.size() - rest.size();
  const int piece = model_->processor.PieceToId(std::string(text.substr(0, length)));
  if (piece != unk_id_) return Special{.id = piece, .length = length};
  return Special{.id = num_pieces_ + num_extra_ids_ - 1 - *number, .length = length};
}

void Tokenizer::encode_plain(std::string_view text, std::vector<int64_t>& ids) const {
  const std::string_view words = trim_spaces(text);
  if (words.empty()) return;
  if (model_->unigram) {
    std::vector<int64_t> found;
    const std::string normalized = model_->normalized(words);
    for (const Unigram::Cut& cut : model_->unigram->split(normalized)) {
      if (cut.id == Unigram::kUnknown) {
        model_->add_unknown(cut.text, found);
      } else {
        found.push_back(cut.id);
      }
    }
    ids.insert(ids.end(), found.begin(), found.end());
    return;
  }
  std::vector<int> pieces;
  const auto status = model_->processor.Encode(words, &pieces);
  T2V_REQUIRE(status.ok(), ErrorKind::kModel, "tokenizer: cannot encode: ", status.error_message());
  ids.insert(ids.end(), pieces.begin(), pieces.end());
}

TokenIds Tokenizer::encode(std::string_view clean, int64_t text_len) const {
  T2V_REQUIRE(text_len >= 1, ErrorKind::kModel, "tokenizer: text_len is ", text_len,
              ", expected at least 1");
  TokenIds out;
  size_t plain = 0;  // start of the text that is not encoded yet
  for (size_t at = 0; at < clean.size();) {
    const auto special = special_at(clean.substr(at));
    if (!special) {
      ++at;
      continue;
    }
    encode_plain(clean.substr(plain, at - plain), out.ids);
    out.ids.push_back(special->id);
    at += special->length;
    plain = at;
  }
  encode_plain(clean.substr(plain), out.ids);
  const auto room = static_cast<size_t>(text_len - 1);
  out.truncated = out.ids.size() > room;
  if (out.truncated) out.ids.resize(room);
  out.ids.push_back(eos_id_);
  return out;
}

}  // namespace t2v::text
