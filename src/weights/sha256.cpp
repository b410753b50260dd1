#include "weights/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "core/check.h"

namespace t2v::weights {
namespace {

EVP_MD_CTX* digest(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

void Sha256::Free::operator()(void* context) const noexcept { EVP_MD_CTX_free(digest(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  T2V_REQUIRE(context_ && EVP_DigestInit_ex(digest(context_.get()), EVP_sha256(), nullptr) == 1,
              ErrorKind::kInternal, "cannot start SHA-256");
}

void Sha256::add(std::span<const std::byte> bytes) {
  T2V_REQUIRE(EVP_DigestUpdate(digest(context_.get()), bytes.data(), bytes.size()) == 1,
              ErrorKind::kInternal, "cannot compute SHA-256");
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  T2V_REQUIRE(EVP_DigestFinal_ex(digest(context_.get()), bytes.data(), &size) == 1,
              ErrorKind::kInternal, "cannot compute SHA-256");
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace t2v::weights
