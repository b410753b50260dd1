// SHA-256 (FIPS 180-4) of texts and small files; the program links no library for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace t2v::cli {

// Of bytes that come piece by piece.
class ContentHash {
 public:
  void add(std::string_view bytes) noexcept;
  // 64 hexadecimal digits, lower case; once.
  std::string finish();

 private:
  void take_block(const unsigned char* block) noexcept;

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  size_t in_block_ = 0;
  uint64_t total_ = 0;  // bytes
};

std::string hash_of_text(std::string_view text);

// "" when the file cannot be read.
std::string hash_of_file(const std::string& path);

}  // namespace t2v::cli
