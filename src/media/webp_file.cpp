#include "media/webp_file.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

constexpr size_t kHeaderBytes = 12;  // RIFF, size, WEBP
constexpr size_t kChunkHeaderBytes = 8;
constexpr size_t kExtendedBytes = 10;        // of VP8X
constexpr size_t kAnimationFrameBytes = 16;  // of ANMF, before its picture
constexpr size_t kDurationOffset = 12;       // in ANMF
constexpr size_t kLoopOffset = 4;            // in ANIM
constexpr unsigned char kXmpFlag = 4;        // in VP8X
constexpr int64_t kMaxDurationMs = (1 << 24) - 1;
constexpr std::string_view kRecipeStart = "<t2v:recipe>";
constexpr std::string_view kRecipeEnd = "</t2v:recipe>";

struct Chunk {
  std::string type;
  std::string content;
};

size_t read_bits(std::string_view bytes, size_t at, size_t count) {
  size_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

void write_bits(std::string& bytes, size_t at, size_t count, size_t value) {
  for (size_t i = 0; i < count; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i) & 255);
}

// False: the file ends within a chunk.
bool split_chunks(const std::string& bytes, std::vector<Chunk>& chunks) {
  size_t at = kHeaderBytes;
  while (at + kChunkHeaderBytes <= bytes.size()) {
    const size_t size = read_bits(bytes, at + 4, 4);
    if (size > bytes.size() - at - kChunkHeaderBytes) return false;
    chunks.push_back({bytes.substr(at, 4), bytes.substr(at + kChunkHeaderBytes, size)});
    at += kChunkHeaderBytes + size + size % 2;
  }
  return !chunks.empty() && at >= bytes.size();
}

std::string joined(const std::vector<Chunk>& chunks) {
  std::string out = std::string("RIFF\0\0\0\0WEBP", kHeaderBytes);
  for (const Chunk& chunk : chunks) {
    const size_t at = out.size();
    out += chunk.type + std::string(4, '\0') + chunk.content;
    write_bits(out, at + 4, 4, chunk.content.size());
    if (chunk.content.size() % 2 != 0) out += '\0';
  }
  write_bits(out, 4, 4, out.size() - kChunkHeaderBytes);
  return out;
}

constexpr std::pair<char, std::string_view> kEntities[] = {
    {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}};

std::string xmp_of(const std::string& recipe_json) {
  std::string text;
  for (const char letter : recipe_json) {
    const auto* found = std::find_if(std::begin(kEntities), std::end(kEntities),
                                     [&](const auto& entity) { return entity.first == letter; });
    if (found == std::end(kEntities)) {
      text += letter;
    } else {
      text += found->second;
    }
  }
  return core::str(
      "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF "
      "xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" "
      "xmlns:t2v=\"urn:t2v:\">",
      kRecipeStart, text, kRecipeEnd, "</rdf:Description></rdf:RDF></x:xmpmeta>");
}

std::string recipe_of(const std::string& xmp) {
  const size_t start = xmp.find(kRecipeStart);
  const size_t end = xmp.find(kRecipeEnd);
  if (start == std::string::npos || end == std::string::npos || end < start) return "";
  std::string_view rest = std::string_view(xmp).substr(0, end).substr(start + kRecipeStart.size());
  std::string text;
  while (!rest.empty()) {
    const auto* found =
        std::find_if(std::begin(kEntities), std::end(kEntities),
                     [&](const auto& entity) { return rest.starts_with(entity.second); });
    text += found == std::end(kEntities) ? rest.front() : found->first;
    rest.remove_prefix(found == std::end(kEntities) ? 1 : found->second.size());
  }
  return text;
}

// A single picture comes without the header that further chunks need.
void require_extended(std::vector<Chunk>& chunks, const WebpFrame& size) {
  if (!chunks.empty() && chunks.front().type == "VP8X") return;
  std::string header(kExtendedBytes, '\0');
  write_bits(header, 4, 3, static_cast<size_t>(size.width - 1));
  write_bits(header, 7, 3, static_cast<size_t>(size.height - 1));
  chunks.insert(chunks.begin(), {"VP8X", header});
}

bool is_animation_frame(const Chunk& chunk) {
  return chunk.type == "ANMF" && chunk.content.size() >= kAnimationFrameBytes;
}

void set_duration(std::vector<Chunk>& chunks, int64_t duration_ms) {
  int64_t before_ms = 0;
  Chunk* last = nullptr;
  for (Chunk& chunk : chunks) {
    if (!is_animation_frame(chunk)) continue;
    if (last) before_ms += static_cast<int64_t>(read_bits(last->content, kDurationOffset, 3));
    last = &chunk;
  }
  if (!last) return;
  const int64_t rest_ms = std::clamp(duration_ms - before_ms, int64_t{1}, kMaxDurationMs);
  write_bits(last->content, kDurationOffset, 3, static_cast<size_t>(rest_ms));
}

// Width and height of a file that is one picture, from its bitstream; libwebp's own headers.
void read_plain_size(const Chunk& chunk, WebpSummary& summary) {
  const std::string& bits = chunk.content;
  if (chunk.type == "VP8 " && bits.size() >= 10) {
    summary.width = static_cast<int64_t>(read_bits(bits, 6, 2) & 0x3fff);
    summary.height = static_cast<int64_t>(read_bits(bits, 8, 2) & 0x3fff);
  } else if (chunk.type == "VP8L" && bits.size() >= 5) {
    const size_t sides = read_bits(bits, 1, 4);
    summary.width = static_cast<int64_t>((sides & 0x3fff) + 1);
    summary.height = static_cast<int64_t>((sides >> 14 & 0x3fff) + 1);
  }
}

}  // namespace

std::string finished_webp(const std::string& bytes, const WebpFrame& size, int64_t duration_ms,
                          const std::string& recipe_json) {
  std::vector<Chunk> chunks;
  T2V_REQUIRE(is_webp(bytes) && split_chunks(bytes, chunks), ErrorKind::kOutput,
              "cannot finish output: the WebP encoder gave no whole file; try another suffix");
  set_duration(chunks, duration_ms);
  for (Chunk& chunk : chunks) {
    if (chunk.type == "ANIM" && chunk.content.size() >= kLoopOffset + 2)
      write_bits(chunk.content, kLoopOffset, 2, 0);
  }
  if (!recipe_json.empty()) {
    require_extended(chunks, size);
    std::string& header = chunks.front().content;
    T2V_ASSERT(header.size() >= kExtendedBytes);
    header[0] = static_cast<char>(static_cast<unsigned char>(header[0]) | kXmpFlag);
    chunks.push_back({"XMP ", xmp_of(recipe_json)});
  }
  return joined(chunks);
}

bool is_webp(const std::string& bytes) noexcept {
  return bytes.size() >= kHeaderBytes && bytes.compare(0, 4, "RIFF") == 0 &&
         bytes.compare(8, 4, "WEBP") == 0;
}

WebpSummary read_webp(const std::string& bytes, const std::string& path) {
  std::vector<Chunk> chunks;
  WebpSummary summary;
  bool whole = is_webp(bytes) && read_bits(bytes, 4, 4) + kChunkHeaderBytes == bytes.size() &&
               split_chunks(bytes, chunks);
  for (const Chunk& chunk : chunks) {
    if (chunk.type == "VP8X" && chunk.content.size() >= kExtendedBytes) {
      summary.width = static_cast<int64_t>(read_bits(chunk.content, 4, 3)) + 1;
      summary.height = static_cast<int64_t>(read_bits(chunk.content, 7, 3)) + 1;
    } else if (is_animation_frame(chunk)) {
      ++summary.pictures;
      summary.duration_ms += static_cast<int64_t>(read_bits(chunk.content, kDurationOffset, 3));
    } else if (chunk.type == "VP8 " || chunk.type == "VP8L") {
      ++summary.pictures;
      if (summary.width == 0) read_plain_size(chunk, summary);
    } else if (chunk.type == "XMP " && summary.recipe_json.empty()) {
      summary.recipe_json = recipe_of(chunk.content);
    }
  }
  whole = whole && summary.pictures > 0 && summary.width > 0 && summary.height > 0;
  T2V_REQUIRE(whole, ErrorKind::kInput, "not a whole WebP: '", core::escape_control(path),
              "'; try the file that t2v wrote");
  return summary;
}

}  // namespace t2v::media
