#include "weights/byte_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace t2v::weights {

struct ByteHash::State {
  XXH3_state_t xxh;
};

ByteHash::ByteHash() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
ByteHash::ByteHash(ByteHash&&) noexcept = default;
ByteHash& ByteHash::operator=(ByteHash&&) noexcept = default;
ByteHash::~ByteHash() = default;

void ByteHash::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string ByteHash::finish() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->xxh));
  constexpr const char* kHex = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15U];
  }
  return text;
}

}  // namespace t2v::weights
