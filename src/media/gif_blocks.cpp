#include "media/gif_blocks.h"

#include <algorithm>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::media {
namespace {

using namespace std::string_literals;

constexpr int kCodeBits = 8;  // 256 palette entries
constexpr int kMaxCode = 4095;

void append_u16(std::string& out, int value) {
  out += static_cast<char>(value & 255);
  out += static_cast<char>(value >> 8 & 255);
}

void append_sub_blocks(std::string& out, std::string_view bytes) {
  for (size_t at = 0; at < bytes.size(); at += 255) {
    const std::string_view block = bytes.substr(at, 255);
    out += static_cast<char>(block.size());
    out += block;
  }
  out += '\0';
}

// Variable-length codes, least significant bit first.
class BitWriter {
 public:
  void put(int code, int bits) {
    pending_ |= static_cast<uint32_t>(code) << used_;
    used_ += bits;
    while (used_ >= 8) {
      bytes_ += static_cast<char>(pending_ & 255);
      pending_ >>= 8;
      used_ -= 8;
    }
  }
  std::string take() {
    if (used_ > 0) put(0, 8 - used_);
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
  uint32_t pending_ = 0;
  int used_ = 0;
};

std::string lzw(const std::vector<uint8_t>& indices) {
  constexpr int kClear = 1 << kCodeBits;
  constexpr int kEnd = kClear + 1;
  // next[code][index]: the code of that string followed by index; 0 = none.
  std::vector<uint16_t> next(static_cast<size_t>(kMaxCode + 1) << 8);
  BitWriter out;
  int bits = kCodeBits + 1;
  int last = kEnd;
  out.put(kClear, bits);
  int code = indices.front();
  for (size_t i = 1; i < indices.size(); ++i) {
    uint16_t& longer = next[static_cast<size_t>(code) << 8 | indices[i]];
    if (longer != 0) {
      code = longer;
      continue;
    }
    out.put(code, bits);
    code = indices[i];
    if (last < kMaxCode) {
      longer = static_cast<uint16_t>(++last);
      if (last == 1 << bits && bits < 12) ++bits;
    } else {
      out.put(kClear, bits);
      std::fill(next.begin(), next.end(), uint16_t{0});
      bits = kCodeBits + 1;
      last = kEnd;
    }
  }
  out.put(code, bits);
  // The reader adds one more entry after that code, which may widen the last one.
  if (last < kMaxCode && last + 1 == 1 << bits && bits < 12) ++bits;
  out.put(kEnd, bits);
  return out.take();
}

// Reads forward; past the end it stays there and says so.
class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}
  int byte() {
    if (at_ < bytes_.size()) return static_cast<unsigned char>(bytes_[at_++]);
    failed_ = true;
    return 0;
  }
  int u16() {
    const int low = byte();
    return low | byte() << 8;
  }
  void skip(size_t count) {
    failed_ = failed_ || count > bytes_.size() - at_;
    at_ = failed_ ? bytes_.size() : at_ + count;
  }
  std::string sub_blocks() {
    std::string all;
    for (int size = byte(); size > 0 && !failed_; size = byte()) {
      const size_t start = at_;
      skip(static_cast<size_t>(size));
      if (!failed_) all.append(bytes_, start, static_cast<size_t>(size));
    }
    return all;
  }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
  bool failed_ = false;
};

size_t palette_bytes(int flags) { return (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0; }

void read_extension(Reader& in, GifSummary& summary) {
  const int label = in.byte();
  const std::string content = in.sub_blocks();
  if (label == 0xf9 && content.size() >= 4) {
    summary.duration_cs +=
        static_cast<unsigned char>(content[1]) | static_cast<unsigned char>(content[2]) << 8;
  } else if (label == 0xfe && summary.comment.empty() && content.starts_with(kGifCommentPrefix)) {
    summary.comment = content.substr(kGifCommentPrefix.size());
  }
}

}  // namespace

std::string gif_start(int width, int height, const std::vector<Rgb>& colours,
                      const std::string& comment) {
  std::string out = "GIF89a";
  append_u16(out, width);
  append_u16(out, height);
  out += "\xf7\x00\x00"s;  // global palette of 256 entries, background 0, square pixels
  for (const Rgb& colour : colours) {
    for (const uint8_t channel : colour) out += static_cast<char>(channel);
  }
  out.append(3 * (256 - colours.size()), '\0');
  out += "\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"s;
  if (!comment.empty()) {
    out += "\x21\xfe"s;
    append_sub_blocks(out, std::string(kGifCommentPrefix) + comment);
  }
  return out;
}

std::string gif_frame(const GifArea& area, const std::vector<uint8_t>& indices, int delay_cs,
                      int transparent) {
  std::string out = "\x21\xf9\x04\x05"s;  // keep the picture, one index is transparent
  append_u16(out, delay_cs);
  out += static_cast<char>(transparent);
  out += "\x00\x2c"s;
  for (const int value : {area.x, area.y, area.width, area.height}) append_u16(out, value);
  out += '\0';
  out += static_cast<char>(kCodeBits);
  append_sub_blocks(out, lzw(indices));
  return out;
}

std::string gif_end() { return "\x3b"; }

bool is_gif(const std::string& bytes) noexcept {
  return bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a");
}

GifSummary read_gif(const std::string& bytes, const std::string& path) {
  GifSummary summary;
  Reader in(bytes);
  in.skip(6);
  summary.width = in.u16();
  summary.height = in.u16();
  const int flags = in.byte();
  in.skip(2 + palette_bytes(flags));
  bool ended = false;
  while (is_gif(bytes) && !ended && !in.failed()) {
    const int kind = in.byte();
    if (kind == 0x21) {
      read_extension(in, summary);
    } else if (kind == 0x2c) {
      in.skip(8);
      const int local = in.byte();
      in.skip(palette_bytes(local) + 1);
      in.sub_blocks();
      ++summary.frames;
    } else {
      ended = kind == 0x3b;
      break;
    }
  }
  T2V_REQUIRE(ended && !in.failed() && summary.frames > 0, ErrorKind::kInput, "not a whole GIF: '",
              core::escape_control(path), "'");
  return summary;
}

}  // namespace t2v::media
