#include "media/png_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kKeyword = "t2v";
constexpr int kCompression = 4;             // about a third slower than 1, within 5 % of 9 in size
constexpr size_t kMaxTextBytes = 16 << 20;  // of a recipe, unpacked

void append_u32(std::string& out, size_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 255);
}

size_t read_u32(const std::string& bytes, size_t at) {
  size_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

uLong crc_of(std::string_view bytes) {
  return crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
}

void append_chunk(std::string& out, std::string_view type, const std::string& content) {
  append_u32(out, content.size());
  const size_t start = out.size();
  out += type;
  out += content;
  append_u32(out, crc_of(std::string_view(out).substr(start)));
}

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(static_cast<uLong>(bytes.size()));
  std::string out(size, '\0');
  const int code = compress2(reinterpret_cast<Bytef*>(out.data()), &size,
                             reinterpret_cast<const Bytef*>(bytes.data()),
                             static_cast<uLong>(bytes.size()), kCompression);
  T2V_REQUIRE(code == Z_OK, ErrorKind::kOutOfMemory, "not enough memory to pack a PNG");
  out.resize(size);
  return out;
}

int paeth(int left, int above, int corner) {
  const int estimate = left + above - corner;
  const int to_left = std::abs(estimate - left);
  const int to_above = std::abs(estimate - above);
  const int to_corner = std::abs(estimate - corner);
  if (to_left <= to_above && to_left <= to_corner) return left;
  return to_above <= to_corner ? above : corner;
}

// One row under filter 0..4; above is null for the first row. Returns the sum of magnitudes, the
// usual guess at what packs best.
int64_t filter_row(int filter, const uint8_t* row, const uint8_t* above, size_t size,
                   std::vector<uint8_t>& out) {
  int64_t cost = 0;
  for (size_t i = 0; i < size; ++i) {
    const int left = i >= 3 ? row[i - 3] : 0;
    const int up = above ? above[i] : 0;
    const int corner = above && i >= 3 ? above[i - 3] : 0;
    const int guess = filter == 0   ? 0
                      : filter == 1 ? left
                      : filter == 2 ? up
                      : filter == 3 ? (left + up) / 2
                                    : paeth(left, up, corner);
    const auto residue = static_cast<uint8_t>(row[i] - guess);
    out[i] = residue;
    cost += residue < 128 ? residue : 256 - residue;
  }
  return cost;
}

std::string filtered(const uint8_t* rgb, int width, int height) {
  const size_t size = static_cast<size_t>(width) * 3;
  std::string out;
  out.reserve((size + 1) * static_cast<size_t>(height));
  std::vector<uint8_t> best(size), candidate(size);
  for (int y = 0; y < height; ++y) {
    const uint8_t* row = rgb + static_cast<size_t>(y) * size;
    const uint8_t* above = y > 0 ? row - size : nullptr;
    int best_filter = 0;
    int64_t best_cost = filter_row(0, row, above, size, best);
    for (const int filter : {1, 2, 4}) {
      const int64_t cost = filter_row(filter, row, above, size, candidate);
      if (cost >= best_cost) continue;
      best_cost = cost;
      best_filter = filter;
      best.swap(candidate);
    }
    out += static_cast<char>(best_filter);
    out.append(reinterpret_cast<const char*>(best.data()), size);
  }
  return out;
}

std::string inflated(std::string_view packed) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return "";
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  std::array<char, 1 << 14> block{};
  int code = Z_OK;
  while (code == Z_OK && out.size() <= kMaxTextBytes) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    code = inflate(&stream, Z_NO_FLUSH);
    out.append(block.data(), block.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  return code == Z_STREAM_END && out.size() <= kMaxTextBytes ? out : "";
}

// The text of an iTXt chunk of ours, "" for any other.
std::string own_text(std::string_view chunk) {
  // keyword 0 packed method language 0 translation 0 text
  if (!chunk.starts_with(kKeyword) || chunk.size() < kKeyword.size() + 5 ||
      chunk[kKeyword.size()] != '\0')
    return "";
  const bool packed = chunk[kKeyword.size() + 1] == 1;
  std::string_view rest = chunk.substr(kKeyword.size() + 3);
  for (int i = 0; i < 2; ++i) {
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return "";
    rest = rest.substr(end + 1);
  }
  return packed ? inflated(rest) : std::string(rest);
}

}  // namespace

std::string make_png(const uint8_t* rgb, int width, int height, const std::string& recipe_json) {
  using namespace std::string_literals;
  std::string out(kSignature);
  std::string header;
  append_u32(header, static_cast<size_t>(width));
  append_u32(header, static_cast<size_t>(height));
  header += "\x08\x02\x00\x00\x00"s;  // 8 bits, RGB, deflate, adaptive filters, not interlaced
  append_chunk(out, "IHDR", header);
  append_chunk(out, "sRGB", "\x00"s);
  if (!recipe_json.empty())
    append_chunk(out, "iTXt", std::string(kKeyword) + "\0\1\0\0\0"s + deflated(recipe_json));
  append_chunk(out, "IDAT", deflated(filtered(rgb, width, height)));
  append_chunk(out, "IEND", "");
  return out;
}

bool is_png(const std::string& bytes) noexcept { return bytes.starts_with(kSignature); }

PngSummary read_png(const std::string& bytes, const std::string& path) {
  PngSummary summary;
  bool ended = false;
  for (size_t at = kSignature.size(); is_png(bytes) && !ended && bytes.size() - at >= 12;) {
    const size_t size = read_u32(bytes, at);
    if (size > bytes.size() - at - 12) break;
    const std::string_view chunk = std::string_view(bytes).substr(at + 4, size + 4);
    if (crc_of(chunk) != read_u32(bytes, at + 8 + size)) break;
    if (chunk.starts_with("IHDR") && size == 13) {
      summary.width = static_cast<int64_t>(read_u32(bytes, at + 8));
      summary.height = static_cast<int64_t>(read_u32(bytes, at + 12));
    } else if (chunk.starts_with("iTXt") && summary.recipe_json.empty()) {
      summary.recipe_json = own_text(chunk.substr(4));
    }
    ended = chunk.starts_with("IEND");
    at += size + 12;
  }
  T2V_REQUIRE(ended && summary.width > 0 && summary.height > 0, ErrorKind::kInput,
              "not a whole PNG: '", core::escape_control(path), "'");
  return summary;
}

}  // namespace t2v::media
